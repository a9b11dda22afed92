"""The node types that we draw: their sockets, widgets and heights.

That this table agrees with a running ComfyUI is tested (tests/nodes/test_workflows.py). A type of
which a choice decides the inputs has a row for each choice: `Judge:seen` is the Judge with that
choice.
"""

from __future__ import annotations

from dataclasses import dataclass

OURS = "ReflectionFlow_"
OUR_TYPE = "REFLECTIONFLOW_"
NOTE = "MarkdownNote"


@dataclass(frozen=True)
class Kind:
    """A node type. Of its inputs a bare name is a widget, `name:TYPE` a socket, `name:TYPE?` one
    that may stay empty; a type in small letters is our own. `tall` is what the taller of the two
    renderers needs, in pixels without the title bar."""

    inputs: str
    outputs: str
    tall: int
    ours: bool = True


KINDS = {
    "FluxLoader": Kind("model dtype", "FLUX:flux", 86),
    "CorrectorLoader": Kind("flux:flux lora", "FLUX:flux", 86),
    "FluxSampling": Kind(
        "flux:flux width height steps guidance condition_size condition_fit", "FLUX:flux", 180
    ),
    "VerifierLoader": Kind("verifier error vlm:vlm? detector", "verifier:verifier", 154),
    "WriterLoader": Kind("writer vlm:vlm?", "writer:writer", 62),
    "EvolverLoader": Kind("evolver vlm:vlm?", "evolver:evolver", 62),
    "VlmEndpoint": Kind("profile refresh send_pictures", "vlm:vlm", 122),
    "JudgeCheck": Kind("vlm:vlm insist refresh", "vlm:vlm findings:STRING", 220),
    "VlmLoader": Kind("model dtype max_pixels", "vlm:vlm", 106),
    "VlmFromClip": Kind("clip:CLIP", "vlm:vlm", 34),
    "VisionModel:here": Kind("source source.model source.dtype source.max_pixels", "vlm:vlm", 146),
    "VisionModel:server": Kind(
        "source source.profile source.send_pictures source.refresh", "vlm:vlm", 146
    ),
    "VisionModel:clip": Kind("source source.clip:CLIP", "vlm:vlm", 86),
    "Judge:seen": Kind("vlm:vlm? judge judge.method judge.ground", "verifier:verifier", 118),
    "Judge:written": Kind("vlm:vlm? judge", "verifier:verifier", 86),
    "Judge:shapes": Kind("vlm:vlm? judge judge.error", "verifier:verifier", 110),
    "Critic": Kind(
        "vlm:vlm? text_model:vlm? writer evolver inspector",
        "writer:writer evolver:evolver inspector:inspector",
        170,
    ),
    "FixPicture": Kind(
        "flux:flux image:IMAGE prompt words seed writer:writer? verifier:verifier? mask:MASK? "
        "feather",
        "image:IMAGE words:STRING before_after:IMAGE",
        560,
    ),
    "InspectorLoader": Kind("inspector vlm:vlm?", "inspector:inspector", 62),
    "ScenePlanner": Kind(
        "prompt planner vlm:vlm? own_plan", "plan:plan text:STRING scene:STRING", 300
    ),
    "StageInspector": Kind(
        "images:IMAGE prompt plan:plan inspector:inspector stage",
        "accepted:BOOLEAN instruction:STRING scene:STRING next_stage:INT report:STRING",
        256,
    ),
    "ThinkFirst": Kind("prompt vlm:vlm? thinker", "draft_prompt:STRING", 150),
    "ClipScoreLoader": Kind("model", "verifier:verifier", 62),
    "RewardLoader": Kind("model base", "verifier:verifier", 90),
    "VerifierEnsemble": Kind(
        "verifier_1:verifier verifier_2:verifier? verifier_3:verifier? verifier_4:verifier? "
        "gate:verifier? screen:verifier? weight_1 weight_2 weight_3 weight_4 shortlist",
        "verifier:verifier",
        270,
    ),
    "DraftSampler": Kind("flux:flux prompt count seed batch_size", "images:IMAGE", 390),
    "VerifierScore": Kind(
        "images:IMAGE prompt verifier:verifier order keep",
        "images:IMAGE best:IMAGE verdicts:verdicts scores:FLOAT report:STRING sheet:IMAGE",
        390,
    ),
    "ReflectionWriter": Kind(
        "images:IMAGE prompt writer:writer verdicts:verdicts", "reflections:STRING", 200
    ),
    "PromptEvolver": Kind(
        "prompt images:IMAGE evolver:evolver verdicts:verdicts? reflections:STRING?",
        "prompts:STRING",
        220,
    ),
    "CorrectorSampler": Kind(
        "images:IMAGE prompt reflections flux:flux seed round batch_size", "images:IMAGE", 470
    ),
    "ReflectionLoop": Kind(
        "prompt flux:flux verifier:verifier writer:writer? evolver:evolver? "
        "width depth drafts seed strategy stop stop_score save_run options:options? plan:plan? "
        "inspector:inspector? ask_me ask_seconds",
        "best:IMAGE images:IMAGE report:STRING history:history",
        1040,
    ),
    "PromptBatch": Kind(
        "prompts flux:flux verifier:verifier writer:writer? evolver:evolver? budget width depth "
        "drafts seed strategy stop options:options?",
        "best:IMAGE prompts:STRING scores:FLOAT sheet:IMAGE report:STRING histories:history",
        850,
    ),
    "ReflectionStart": Kind(
        "prompt width drafts seed strategy stop stop_score save_run options:options? plan:plan?",
        "history:history",
        320,
    ),
    "ReflectionRound": Kind(
        "history:history flux:flux verifier:verifier writer:writer? evolver:evolver? "
        "inspector:inspector?",
        "history:history",
        440,
    ),
    "ReflectionTrail": Kind(
        "history:history save_run",
        "sheet:IMAGE report:STRING best:IMAGE images:IMAGE",
        690,
    ),
    "SearchOptions": Kind(
        "noise_axis prompt_axis reflection_axis parents noise_search radius batch_size max_images "
        "max_vlm_calls max_seconds draft_prompt max_steps policy recheck context",
        "options:options",
        424,
    ),
    "LoadCorrector": Kind("model:MODEL lora", "MODEL:MODEL", 86),
    "CorrectorConditioning": Kind(
        "conditioning:CONDITIONING vae:VAE images:IMAGE condition_size condition_fit",
        "CONDITIONING:CONDITIONING",
        130,
    ),
    "FluxFromModel": Kind(
        "model:MODEL clip:CLIP vae:VAE width height steps guidance sampler scheduler "
        "condition_size condition_fit",
        "FLUX:flux",
        290,
    ),
    "PainterFromModel": Kind(
        "model:MODEL clip:CLIP vae:VAE width height steps cfg guidance shift sampler scheduler "
        "negative variant custom_sampler:SAMPLER? sigmas:SIGMAS? corrections",
        "FLUX:flux settings:STRING",
        500,
    ),
    "EditCorrector": Kind(
        "flux:flux model:MODEL clip:CLIP vae:VAE steps guidance sampler scheduler cfg shift "
        "variant",
        "FLUX:flux",
        290,
    ),
    "ImageToImageCorrector": Kind(
        "flux:flux model:MODEL clip:CLIP vae:VAE denoise steps guidance sampler scheduler cfg "
        "shift variant",
        "FLUX:flux",
        300,
    ),
    "MiniatureLoader": Kind("", "MODEL:MODEL CLIP:CLIP VAE:VAE", 66),
    "UNETLoader": Kind("unet_name weight_dtype", "MODEL:MODEL", 86, ours=False),
    "DualCLIPLoader": Kind("clip_name1 clip_name2 type device", "CLIP:CLIP", 142, ours=False),
    "CLIPLoader": Kind("clip_name type device", "CLIP:CLIP", 114, ours=False),
    "VAELoader": Kind("vae_name", "VAE:VAE", 86, ours=False),
    "CLIPTextEncodeFlux": Kind(
        "clip:CLIP clip_l t5xxl guidance", "CONDITIONING:CONDITIONING", 200, ours=False
    ),
    "ConditioningZeroOut": Kind(
        "conditioning:CONDITIONING", "CONDITIONING:CONDITIONING", 34, ours=False
    ),
    "EmptySD3LatentImage": Kind("width height batch_size", "LATENT:LATENT", 118, ours=False),
    "KSampler": Kind(
        "model:MODEL positive:CONDITIONING negative:CONDITIONING latent_image:LATENT "
        "seed steps cfg sampler_name scheduler denoise",
        "LATENT:LATENT",
        270,
        ours=False,
    ),
    "VAEDecode": Kind("samples:LATENT vae:VAE", "IMAGE:IMAGE", 54, ours=False),
    "PrimitiveStringMultiline": Kind("value", "STRING:STRING", 180, ours=False),
    "PrimitiveInt": Kind("value", "INT:INT", 82, ours=False),
    "LoadImage": Kind("image", "IMAGE:IMAGE MASK:MASK", 440, ours=False),
    "LoadImageDataSetFromFolder": Kind("folder", "images:IMAGE", 86, ours=False),
    "PreviewImage": Kind("images:IMAGE", "", 300, ours=False),
    "PreviewAny": Kind("source:*", "", 280, ours=False),
    "ImageScaleBy": Kind("image:IMAGE upscale_method scale_by", "IMAGE:IMAGE", 90, ours=False),
    "SaveImage": Kind("images:IMAGE filename_prefix", "", 300, ours=False),
    NOTE: Kind("text", "", 300, ours=False),  # the API does without
}


def pairs(text: str) -> list[tuple[str, str]]:
    """The names and types of sockets; a widget has the type ''."""
    found = (word.partition(":") for word in text.split())
    return [(name, OUR_TYPE + kind.upper() if kind.islower() else kind) for name, _, kind in found]


def class_type_of(kind: str) -> str:
    return (OURS if KINDS[kind].ours else "") + kind.partition(":")[0]
