"""Editing models as correctors, small and random, against ComfyUI's own nodes.

The reference is made as the official template of each makes it: VAE Encode, the nodes that show it
picture and words, KSampler or SamplerCustomAdvanced, VAE Decode.
"""

# pyright: reportMissingImports=false, reportInvalidTypeForm=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

from native_setup import Cases, Found, Patcher  # isort: skip
import comfy.model_management as mm
import comfy.supported_models
import comfy.utils
import numpy as np
import torch
from comfy_extras import (
    nodes_custom_sampler,
    nodes_edit_model,
    nodes_flux,
    nodes_model_advanced,
)
from native_storage import FP8, in_int8, int8_is_known
from pack.nodes.comfy.edit_models import (
    check_looks,
    edit_model_of,
    edits_as,
    surely_edits,
)
from pack.nodes.comfy.editors import EditCorrector, ImageToImageCorrector
from pack.nodes.comfy.families import family_of
from pack.nodes.comfy.painter_model import ModelPainter, model_painter
from pack.nodes.comfy.painter_settings import TemplateOverrides
from pack.nodes.comfy.tensors import to_batch, to_pictures
from pack.reflectionflow_core.pipelines.wording import attempts_text, edit_text
from pack.reflectionflow_core.record import Candidate, InputError, Region, Request, Verdict
from pack.reflectionflow_core.regions.masks import alpha_of, cells_of
from painter_models import FLUX, KINDS, QWEN, Clip, CoarseVae, Vae, known, small
from painter_reference import PROMPT as PAINTED
from painter_reference import TEMPLATES as PAINTERS
from painter_reference import clip_of, conditionings
from PIL import Image

import nodes

PROMPT, REFLECTION, SEED = "a red circle", "remove the blue square", 7
OMNIGEN2 = {
    "image_model": "omnigen2",
    "hidden_size": 36,
    "num_layers": 1,
    "num_refiner_layers": 1,
    "num_attention_heads": 3,
    "num_kv_heads": 1,
    "axes_dim_rope": (4, 4, 4),
    "axes_lens": (300, 512, 512),
    "text_feat_dim": 24,
}
BOOGU = OMNIGEN2 | {
    "image_model": "boogu",
    "num_double_stream_layers": 1,
    "instruction_feat_dim": 24,
}
del BOOGU["text_feat_dim"]
JOY = {
    "image_model": "joyimage",
    "hidden_size": 128,  # ComfyUI fixes the width of a head
    "num_attention_heads": 1,
    "num_layers": 1,
    "text_dim": 24,
}
LONGCAT = FLUX | {"vec_in_dim": None, "guidance_embed": False, "txt_ids_dims": [1, 2]}
KINDS |= {
    "OmniGen 2": ("Omnigen2", OMNIGEN2),
    "LongCat-Image": ("LongCatImage", LONGCAT),
    "Boogu-Image": ("Boogu", BOOGU),
    "JoyAI-Image": ("JoyImage", JOY),
    "Mage-Flow": ("MageFlow", QWEN | {"image_model": "mage_flow"}),
}
Shown = Sequence[torch.Tensor]
Asked = tuple[Any, Any]
Reference = Callable[[Clip, Vae, str, Shown], Asked]


class SeeingClip(Clip):
    """States whose length and numbers depend on the text and on the pictures."""

    def tokenize(self, text: str, images: Shown = (), llama_template: str = "", **_: Any) -> Any:
        said = [(word, 1.0) for word in f"{llama_template}|{text}".split()]
        seen = [({"type": "image", "data": each}, 1.0) for each in images]
        return {"tokens": [said + seen]}

    def encode_from_tokens_scheduled(self, tokens: Any) -> Any:
        pictures = [e[0]["data"] for e in tokens["tokens"][0] if isinstance(e[0], dict)]
        digests = [(tuple(p.shape), float(p.double().sum())) for p in pictures]
        words = [e[0] for e in tokens["tokens"][0] if not isinstance(e[0], dict)]
        (states, values), *_ = super().encode_from_tokens_scheduled((words, digests))
        mask = torch.ones(states.shape[:2], dtype=torch.long)
        return [[states, {**values, "attention_mask": mask}]]


def run(node: Any, *given: Any, **named: Any) -> Any:
    """The outputs of one of ComfyUI's nodes, of the old form or of the new."""
    if hasattr(node, "define_schema"):
        return node.execute(*given, **named).args
    return getattr(node(), node.FUNCTION)(*given, **named)


def node_of(module: str, name: str) -> Any:
    return getattr(import_module(f"comfy_extras.{module}"), name)


def referring(clip: Clip, vae: Vae, text: str, shown: Shown) -> Asked:
    """CLIP Text Encode, and Reference Latent upon Reference Latent."""

    def read(words: str) -> Any:
        (asked,) = run(nodes.CLIPTextEncode, clip, words)
        for picture in shown:
            (latent,) = run(nodes.VAEEncode, vae, picture)
            (asked,) = run(nodes_edit_model.ReferenceLatent, asked, latent)
        return asked

    return read(text), read("")


def zeroed_and_referring(clip: Clip, vae: Vae, text: str, shown: Shown) -> Asked:
    (asked,) = run(nodes.CLIPTextEncode, clip, text)
    (blank,) = run(nodes.ConditioningZeroOut, asked)
    for picture in shown:
        (latent,) = run(nodes.VAEEncode, vae, picture)
        (asked,) = run(nodes_edit_model.ReferenceLatent, asked, latent)
        (blank,) = run(nodes_edit_model.ReferenceLatent, blank, latent)
    return asked, blank


def by_node(
    module: str, name: str, given: Callable[[Shown], dict[str, Any]], method: str = ""
) -> Reference:
    """A node that shows the pictures to the text encoder, once for each conditioning."""

    def read(clip: Clip, vae: Vae, text: str, shown: Shown) -> Asked:
        node = node_of(module, name)

        def one(words: str) -> Any:
            (asked,) = run(node, clip, words, vae=vae, **given(shown))
            if method:
                (asked,) = run(nodes_flux.FluxKontextMultiReferenceLatentMethod, asked, method)
            return asked

        return one(text), one("")

    return read


def by_pair_node(module: str, name: str) -> Reference:
    def read(clip: Clip, vae: Vae, text: str, shown: Shown) -> Asked:
        node = node_of(module, name)
        images = {f"image_{i}": each for i, each in enumerate(shown, 1)}
        return run(node, clip, text, "", vae=vae, images=images)[:2]

    return read


@dataclass(frozen=True)
class Template:
    """How an official template edits with a model, in fewer steps."""

    kind: str
    reference: Reference
    file: str = ""
    cfg: float = 1.0
    sampler: str = "euler"
    scheduler: str = "simple"
    shift: float = 0.0
    guidance: float | None = None
    attempts: int = 0  # earlier pictures that it is shown, too


def numbered(name: str, first: int, shown: Shown) -> dict[str, Any]:
    return {f"{name}{number}": each for number, each in enumerate(shown, first)}


def one_picture(shown: Shown) -> dict[str, Any]:
    return {"image": shown[0]}


QWEN_ONE = by_node("nodes_qwen", "TextEncodeQwenImageEdit", one_picture)
PLUS = ("nodes_qwen", "TextEncodeQwenImageEditPlus", partial(numbered, "image", 1))
QWEN_PLUS = by_node(*PLUS)
SHIFTED = {"cfg": 4.0, "shift": 3.0}
TEMPLATES = {
    "FLUX.1 Kontext": Template("FLUX.1-dev", zeroed_and_referring, guidance=2.5),
    "FLUX.1 Kontext that sees what was tried": Template(
        "FLUX.1-dev", zeroed_and_referring, guidance=2.5, attempts=2
    ),
    "FLUX.2-dev": Template("FLUX.2-dev", referring, scheduler="flux2", guidance=4.0),
    "FLUX.2 klein": Template(
        "FLUX.2 klein", zeroed_and_referring, "flux-2-klein-4b.sft", scheduler="flux2", attempts=1
    ),
    "FLUX.2 klein base": Template(
        "FLUX.2 klein", referring, "klein-base-4b.sft", cfg=5.0, scheduler="flux2"
    ),
    "Qwen-Image-Edit": Template(
        "Qwen-Image", QWEN_ONE, "qwen_image_edit_fp8.sft", cfg=2.5, shift=3.0
    ),
    "Qwen-Image-Edit Plus": Template("Qwen-Image", QWEN_PLUS, **SHIFTED),
    "Qwen-Image-Edit Plus that sees what was tried": Template(
        "Qwen-Image", QWEN_PLUS, "qwen_image_edit_2509.gguf", **SHIFTED, attempts=3
    ),
    "Qwen-Image-Edit 2511": Template(
        "Qwen-Image",
        by_node(*PLUS, "index_timestep_zero"),
        "qwen_image_edit_2511_bf16.safetensors",
        cfg=4.0,
        shift=3.1,
    ),
    "OmniGen 2": Template("OmniGen 2", referring, cfg=5.0),
    "LongCat-Image-Edit": Template(
        "LongCat-Image",
        by_node("nodes_qwen", "TextEncodeQwenImageEdit", one_picture, "index"),
        cfg=4.5,
    ),
    "Boogu-Image Edit": Template(
        "Boogu-Image",
        by_pair_node("nodes_boogu", "TextEncodeBooguEdit"),
        cfg=3.5,
        sampler="dpmpp_2m",
        attempts=1,
    ),
    "JoyAI-Image-Edit": Template(
        "JoyAI-Image",
        by_node(
            "nodes_joyimage",
            "TextEncodeJoyImageEdit",
            lambda shown: {"images": numbered("image", 0, shown)},
        ),
        cfg=4.0,
        scheduler="normal",
        attempts=1,
    ),
    "Mage-Flow Edit": Template(
        "Mage-Flow", by_pair_node("nodes_mage", "TextEncodeMageFlowEdit"), cfg=5.0
    ),
}


def noisy_picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 96, 3), "uint8"))


def corrections_by(how: Template, model: Patcher, clip: Clip) -> tuple[ModelPainter, Any]:
    """Our painter in three steps, and how it edits."""
    editor = edit_model_of(model, how.file)
    family = edits_as(editor, family_of(model, how.file))
    models, asked = (model, clip, CoarseVae(model)), TemplateOverrides(steps=3)
    return model_painter(models, (64, 64), asked, family), editor


COMPILED, STORED = "under TorchCompileModel", ("in fp8", "in int8")


def packed(kind: str, how: str) -> Patcher:
    """A small model compiled by ComfyUI's own node, or with weights as files in fp8 or int8."""
    model = small(kind)
    if how == COMPILED:
        from comfy_api.torch_helpers import set_torch_compile_wrapper

        set_torch_compile_wrapper(model=model, backend="eager")
        return model
    name, words = KINDS[kind]
    config, state = getattr(comfy.supported_models, name)({**words}), model.model.diffusion_model
    if how == STORED[0]:
        kept = {key: value.to(FP8) for key, value in state.state_dict().items()}
        config.set_inference_dtype(FP8, torch.float32)
    else:
        kept, _ = in_int8(state.state_dict())
        config.set_inference_dtype(torch.float32, torch.float32)
        config.quant_config = comfy.utils.detect_layer_quantization(kept, "")
    base = config.get_model(kept, device="cpu")
    base.load_model_weights(dict(kept), "")
    stored = [value.dtype for value in base.diffusion_model.state_dict().values()]
    assert (FP8 if how == STORED[0] else torch.int8) in stored
    return Patcher(base, mm.get_torch_device(), mm.unet_offload_device())


def edited(name: str, how_packed: str = "") -> Found:
    how = TEMPLATES[name]
    model, clip = packed(how.kind, how_packed) if how_packed else small(how.kind), SeeingClip()
    painter, editor = corrections_by(how, model, clip)
    assert editor.name in name, f"{name} is taken for {editor.name}"
    picture, *others = map(noisy_picture, range(1, how.attempts + 2))
    earlier = tuple(Candidate(other, PROMPT, 0, Verdict(0.0, unmet=("x",))) for other in others)
    request = replace(Request.correcting(picture, PROMPT, REFLECTION, SEED), context=earlier)
    (ours,) = EditCorrector(painter, editor).paint([request])
    shown = earlier[-(editor.most - 1) :]
    text = edit_text(PROMPT, REFLECTION) + attempts_text(shown, editor.called)
    pixels = [to_batch([picture]), *(to_batch([each.image]) for each in shown)]
    (expected,), (blind,) = (
        reference(how, model, clip, text, seen, picture)
        for seen in (pixels, [to_batch([noisy_picture(9)])])
    )
    return far(ours, expected), far(blind, expected)


def reference(
    how: Template, model: Patcher, clip: Clip, text: str, shown: Shown, picture: Any
) -> list[Image.Image]:
    """What the official template makes of a picture and a text."""
    vae = CoarseVae(model)
    asked, other = how.reference(clip, vae, text, shown)
    if how.guidance is not None:
        (asked,) = run(nodes_flux.FluxGuidance, asked, how.guidance)
    if how.shift:
        (model,) = run(nodes_model_advanced.ModelSamplingAuraFlow, model, how.shift)
    (latent,) = run(nodes.VAEEncode, vae, to_batch([picture]))
    if how.scheduler == "flux2":
        (noise,) = run(nodes_custom_sampler.RandomNoise, SEED)
        (guider,) = run(nodes_custom_sampler.CFGGuider, model, asked, other, how.cfg)
        (sampler,) = run(nodes_custom_sampler.KSamplerSelect, how.sampler)
        (sigmas,) = run(nodes_flux.Flux2Scheduler, 3, *picture.size)
        made, _ = run(
            nodes_custom_sampler.SamplerCustomAdvanced, noise, guider, sampler, sigmas, latent
        )
    else:
        names = (how.sampler, how.scheduler)
        (made,) = run(nodes.KSampler, model, SEED, 3, how.cfg, *names, asked, other, latent)
    return to_pictures([*run(nodes.VAEDecode, vae, made)])


def painted_over(name: str, denoise: float = 0.6) -> Found:
    """Image to image, against a KSampler with the same denoise."""
    model, clip = small(name), clip_of(name, SeeingClip)
    vae, picture = Vae(model), noisy_picture(1)
    models = (model, clip, vae)
    painter = model_painter(models, (64, 64), TemplateOverrides(steps=3), family_of(model))
    corrector = ImageToImageCorrector(painter, denoise)
    (ours,) = corrector.paint([Request.correcting(picture, PAINTED, REFLECTION, SEED)])
    (latent,) = run(nodes.VAEEncode, vae, to_batch([picture]))
    asked = conditionings(PAINTERS[name], clip)
    names = (painter.settings.cfg, painter.settings.sampler, painter.settings.scheduler)
    how = (painter.model, SEED, 3, *names, *asked, latent, denoise)
    (made,) = run(nodes.KSampler, *how)
    (expected,) = to_pictures([*run(nodes.VAEDecode, vae, made)])
    return far(ours, expected), far(picture, expected)


def kept(kind: str, image_to_image: bool = False) -> Found:
    """What a correction in two places leaves of the picture, and what it does to the rest."""
    model, picture = small(kind), noisy_picture(1)
    vae = Vae(model)
    models = (model, SeeingClip(), vae)
    painter = model_painter(models, (64, 64), TemplateOverrides(steps=3), family_of(model))
    corrector = (
        ImageToImageCorrector(painter, 0.6)
        if image_to_image
        else EditCorrector(painter, edit_model_of(model))
    )
    region = Region(((0.0, 0.0, 0.2, 0.4), (0.7, 0.7, 1.0, 1.0)))
    request = replace(Request.correcting(picture, PROMPT, REFLECTION, SEED), region=region)
    (painted,) = corrector.paint([request])
    (latent,) = run(nodes.VAEEncode, vae, to_batch([picture]))
    (encoded,) = to_pictures([*run(nodes.VAEDecode, vae, latent)])
    rows, columns = latent["samples"].shape[-2:]
    cells = cells_of(alpha_of(region, picture.size), rows, columns)
    sides = picture.height // rows, picture.width // columns
    sampled = cells.repeat(sides[0], 0).repeat(sides[1], 1)
    change = np.abs(np.asarray(painted, int) - np.asarray(encoded, int)).max(-1)
    assert cells.any() and not cells.all()
    return float(change[~sampled].max()), float(change[sampled].mean())


def far(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


# A family, the file of its model, how it edits ("": it is refused), and whether that is certain.
RECOGNISED = (
    ("FLUX.1-dev", "", "FLUX.1 Kontext", False),
    ("FLUX.1-dev", "flux1-dev-kontext_fp8_scaled.safetensors", "FLUX.1 Kontext", True),
    ("FLUX.1-dev", "flux1-dev-Q4_K_S.gguf", "", False),
    ("FLUX.1-schnell", "", "", False),
    ("FLUX.2 klein", "", "FLUX.2", True),
    ("Qwen-Image", "", "Qwen-Image-Edit Plus", False),
    ("Qwen-Image", "qwen_image_2512_fp8_e4m3fn.safetensors", "", False),
    ("Qwen-Image", "qwen_image_edit_fp8_e4m3fn.safetensors", "Qwen-Image-Edit", True),
    ("Qwen-Image", "Qwen-Image-Edit-2509-Q4_K_M.gguf", "Qwen-Image-Edit Plus", True),
    ("Qwen-Image", "qwen_image_edit_2511_bf16.safetensors", "Qwen-Image-Edit 2511", True),
    ("OmniGen 2", "omnigen2_fp16.safetensors", "OmniGen 2", True),
    ("Chroma", "", "", False),
    ("Krea 2", "", "", False),
)


def taken_wrongly() -> Found:
    """How many MODELs are taken for another kind, and a CLIP without eyes for one with."""
    wrong = 0
    for kind, file, name, certain in RECOGNISED:
        if known(kind):
            model = small(kind)
            sure = surely_edits(model, file)
            wrong += (outcome(lambda m=model, f=file: edit_model_of(m, f).name), bool(sure)) != (
                name,
                certain,
            )
    painter = model_painter(
        (model := small("Qwen-Image"), Clip(), Vae(model)),
        (64, 64),
        TemplateOverrides(steps=3),
        family_of(model),
    )
    wrong += bool(outcome(lambda: EditCorrector(painter, edit_model_of(model)).described))
    wrong += "has no node NotYetMade" not in refusal_without_its_node()
    return float(wrong), float(len(RECOGNISED) + 2)


def refusal_without_its_node() -> str:
    """What is said of an editing model that is newer than this ComfyUI."""
    editor = edit_model_of(small("Qwen-Image"))
    newer = replace(editor, read=replace(editor.read, node="NotYetMade"))
    try:
        check_looks(newer, Clip())
    except InputError as error:
        return str(error)
    return ""


def outcome(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except InputError:
        return ""


PAINTED_OVER = (
    *("Qwen-Image", "Z-Image", "Krea 2", "Stable Diffusion XL", "FLUX.1-dev", "Lumina-Image 2"),
    *("Stable Diffusion 3", "Stable Diffusion 1.5", "Chroma", "Anima", "ERNIE-Image"),
)
PACKED = [("FLUX.1 Kontext", COMPILED)]
PACKED += [(name, how) for name in ("FLUX.2 klein", "Qwen-Image-Edit Plus") for how in STORED]
PLACED = ("FLUX.1-dev", "FLUX.2 klein", "Qwen-Image")
EDITORS: Cases = {
    **{
        f"an edit by {name}, of 255": partial(edited, name)
        for name, how in TEMPLATES.items()
        if known(how.kind)
    },
    **{
        f"an edit by {name} {how}, of 255": partial(edited, name, how)
        for name, how in PACKED
        if how != STORED[1] or int8_is_known()
    },
    **{
        f"outside a place that {kind} edits, of 255": partial(kept, kind)
        for kind in PLACED
        if known(kind)
    },
    "outside a place of image to image, of 255": partial(kept, PAINTED_OVER[0], True),
    "editing models taken wrongly": taken_wrongly,
    **{
        f"image to image by {kind}, of 255": partial(painted_over, kind)
        for kind in PAINTED_OVER
        if known(kind)
    },
}
