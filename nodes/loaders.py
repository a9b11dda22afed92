"""The nodes that load FLUX, its corrector, verifier, reflection writer and prompt evolver."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.registry import (
    EVOLVERS,
    MINIATURE_WEIGHTS,
    VERIFIERS,
    WRITERS,
)
from .comfy.diffusers_flux import MINIATURE, explained_imports, load_diffusers_flux
from .shared.acting import actor_handle
from .shared.detectors import NO_DETECTOR, PLACES, detectors, objects_handle
from .shared.joined import JOINED, joined_handle
from .shared.model_files import (
    check_lora,
    flux_folders,
    lora_input,
    lora_path,
    lora_stamp,
    missing,
    stamp,
)
from .shared.schema import flux_input, flux_output, output, schema
from .shared.sockets import (
    EvolverSocket,
    FluxHandle,
    VerifierSocket,
    VlmHandle,
    VlmSocket,
    WriterSocket,
)

DTYPES = ("bf16", "fp32")
FITS = ("squash", "fit")


class FluxLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "FluxLoader",
            display_name="FLUX Loader (ReflectionFlow)",
            description="Loads FLUX from a diffusers folder, or the built-in miniature.",
            search_aliases=["load flux", "diffusers", "miniature"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[MINIATURE, *flux_folders()],
                    default=MINIATURE,
                    tooltip="The built-in miniature (64 x 64 pixels, with its corrector, no "
                    "download), or a FLUX.1 folder in models/diffusers.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="bf16",
                    tooltip="Precision of the weights. bf16 is right for almost everyone; fp32 "
                    "takes twice the memory. The miniature is always fp32.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[
                flux_output(),
            ],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        if model is None or model == MINIATURE or model in flux_folders():
            return True
        return missing(
            f"FLUX folder named {model}",
            "models/diffusers",
            "Download the whole folder of FLUX.1-dev there, or choose the miniature.",
        )

    @classmethod
    def fingerprint_inputs(cls, model: str | None = None, **_: object) -> str:
        folder = MINIATURE_WEIGHTS if model == MINIATURE else flux_folders().get(model or "")
        return stamp(folder) if folder else ""

    @classmethod
    def execute(cls, model: str, dtype: str) -> io.NodeOutput:
        folder = "" if model == MINIATURE else str(flux_folders()[model])
        return io.NodeOutput(load_diffusers_flux(model, folder, dtype))


class CorrectorLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "CorrectorLoader",
            display_name="Corrector LoRA Loader",
            description="Gives FLUX its corrector: a LoRA that acts on the picture to be corrected "
            "and on nothing else. The miniature has one already.",
            search_aliases=["reflection lora", "corrector"],
            inputs=[
                flux_input(),
                lora_input(),
            ],
            outputs=[
                flux_output(),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora: str | None = None) -> bool | str:
        return check_lora(lora)

    @classmethod
    def fingerprint_inputs(cls, lora: str | None = None, **_: object) -> str:
        return lora_stamp(lora)

    @classmethod
    def execute(cls, flux: FluxHandle, lora: str) -> io.NodeOutput:
        return io.NodeOutput(flux.with_corrector(lora_path(lora)))


class FluxSampling(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def side(name: str) -> io.Input:
            return io.Int.Input(
                name,
                default=0,
                min=0,
                max=8192,
                step=16,
                tooltip=f"The {name} of every painted picture in pixels, a multiple of 16; 0 "
                "keeps the incoming value (FLUX Loader: 1024, the miniature 64).",
            )

        return schema(
            "FluxSampling",
            display_name="FLUX Sampling",
            description="How FLUX paints: size, steps, guidance. A 0 keeps the incoming value; "
            "condition_fit always replaces it.",
            search_aliases=["steps", "guidance", "resolution"],
            inputs=[
                flux_input(),
                side("width"),
                side("height"),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Diffusion steps of one picture; 0 keeps the incoming value (FLUX "
                    "Loader: 30, the miniature 12).",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="Guidance scale: how closely FLUX follows the prompt; 0 keeps the "
                    "incoming value (FLUX Loader: 3.5).",
                ),
                io.Int.Input(
                    "condition_size",
                    default=0,
                    min=0,
                    max=4096,
                    step=16,
                    tooltip="Longer side in pixels of the picture as the corrector sees it; 0 "
                    "keeps the incoming value (FLUX Loader: 512 as in the paper, the miniature "
                    "64).",
                    extra_dict={"advanced": True},
                ),
                io.Combo.Input(
                    "condition_fit",
                    options=list(FITS),
                    default="squash",
                    tooltip="How a picture that is not square reaches the corrector: squashed into "
                    "a square as in the paper, or fitted with its aspect kept.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[
                flux_output("FLUX with these settings."),
            ],
        )

    @classmethod
    def execute(cls, flux: FluxHandle, condition_fit: str, **numbers: float) -> io.NodeOutput:
        changes = {name: value for name, value in numbers.items() if value}
        return io.NodeOutput(flux.with_sampling(condition_fit=condition_fit, **changes))


class VerifierLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VerifierLoader",
            display_name="Verifier Loader",
            description="Loads a verifier, which judges the pictures.",
            search_aliases=["judge", "critic", "reward", "prompt adherence"],
            inputs=[
                io.Combo.Input(
                    "verifier",
                    options=[*(n for n, row in VERIFIERS.items() if not row.source), *JOINED],
                    default="exact",
                    tooltip="exact reads the miniature's shapes by rules; noisy flips some of "
                    "its verdicts. Both work only for prompts and pictures of such shapes. "
                    "checklist, rubric, yes-no and tournament ask a vision-language model, "
                    "about any prompt. text reads what is written and compares it with the "
                    "words in quotation marks in the prompt. yes-no-nvila asks "
                    "NVILA-Lite-2B-Verifier in its words. objects checks numbers and positions "
                    "with a detector, without a model. Combined, each requirement of the prompt "
                    "goes to the one that sees it best.",
                ),
                io.Float.Input(
                    "error",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="For the noisy verifier: the share of verdicts that it flips; 0 means "
                    "its default, 0.1.",
                    extra_dict={"advanced": True},
                ),
                vlm_input("checklist, rubric, yes-no and tournament; objects may have one,"),
                io.Combo.Input(
                    "detector",
                    options=[NO_DETECTOR, *detectors()],
                    default=NO_DETECTOR,
                    optional=True,
                    tooltip=f"For objects: a detector in {PLACES}, as an ONNX file or as a folder "
                    "of transformers (Mask2Former, RT-DETR, D-FINE, Grounding DINO, OWLv2).",
                ),
                io.Model.Input(
                    "detection_model",
                    optional=True,
                    tooltip="For objects, in place of detector: ComfyUI's own RT-DETR, or SAM3 "
                    "with its CLIP.",
                ),
                io.Clip.Input(
                    "detection_clip",
                    optional=True,
                    tooltip="The CLIP of SAM3, which finds things of any name.",
                ),
                io.Boolean.Input(
                    "ground",
                    default=False,
                    optional=True,
                    tooltip="For checklist: asks where the faults of a picture are, in one more "
                    "question. Contact sheet and report draw the boxes, writers name the places.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[output(VerifierSocket, "verifier", "Judges.")],
        )

    @classmethod
    def validate_inputs(cls, detector: str | None = None) -> bool | str:
        if detector is None or detector == NO_DETECTOR or detector in detectors():
            return True
        return missing(f"detector named {detector}", PLACES, "Put it there, or choose another.")

    @classmethod
    def fingerprint_inputs(cls, detector: str | None = None, **_: object) -> str:
        file = detectors().get(detector or "")
        return stamp(file) if file else ""

    @classmethod
    def execute(
        cls,
        verifier: str,
        error: float,
        vlm: VlmHandle | None = None,
        detector: str = NO_DETECTOR,
        detection_model: Any = None,
        detection_clip: Any = None,
        ground: bool = False,
    ) -> io.NodeOutput:
        finds = (detector, detection_model, detection_clip)
        if verifier == "exact" and error:
            raise InputError(
                "The exact verifier makes no errors. Choose the noisy one, or set error to 0."
            )
        if verifier != "noisy" and error:
            raise InputError(f"error has no effect on the verifier {verifier}. Set it to 0.")
        if ground and "checklist" not in verifier.split("+"):
            raise InputError(
                f"ground has no effect on the verifier {verifier}. Switch it off, or choose "
                "checklist."
            )
        if verifier == "objects":
            with explained_imports():
                return io.NodeOutput(objects_handle(*finds, vlm))
        if "objects" in verifier.split("+"):
            with explained_imports():
                return io.NodeOutput(joined_handle(verifier, vlm, *finds, ground))
        if finds != (NO_DETECTOR, None, None):
            raise InputError(
                f"The verifier {verifier} uses no detector, but one is given. Set detector to "
                f"{NO_DETECTOR} and remove its wires, or choose objects."
            )
        if verifier in JOINED:
            return io.NodeOutput(joined_handle(verifier, vlm, ground=ground))
        chosen = {"verifier": verifier, "verifier_error": error or None, "ground": ground or None}
        return io.NodeOutput(actor_handle(VERIFIERS, vlm, chosen))


class WriterLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "WriterLoader",
            display_name="Reflection Writer Loader",
            description="Loads a writer, which says what should change in a picture.",
            search_aliases=["critic", "feedback"],
            inputs=[
                io.Combo.Input(
                    "writer",
                    options=list(WRITERS),
                    default="template",
                    tooltip="template turns what the verifier found wrong into instructions, "
                    "without a model. vlm asks a vision-language model; two-lists also asks it "
                    "what looks crude; reflection-generator asks the published model of that name.",
                ),
                vlm_input("all but template"),
            ],
            outputs=[output(WriterSocket, "writer", "Writes.")],
        )

    @classmethod
    def execute(cls, writer: str, vlm: VlmHandle | None = None) -> io.NodeOutput:
        return io.NodeOutput(actor_handle(WRITERS, vlm, {"writer": writer}))


class EvolverLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "EvolverLoader",
            display_name="Prompt Evolver Loader",
            description="Loads an evolver, which rewrites the prompt after looking at a picture.",
            search_aliases=["improve prompt", "prompt enhancer"],
            inputs=[
                io.Combo.Input(
                    "evolver",
                    options=list(EVOLVERS),
                    default="rules",
                    tooltip="rules spells the prompt out; layout also says where everything should "
                    "be. Both work only for prompts about the miniature's shapes. vlm lets a "
                    "vision-language model look at the picture and rewrite any prompt.",
                ),
                vlm_input("vlm"),
            ],
            outputs=[output(EvolverSocket, "evolver", "Rewrites.")],
        )

    @classmethod
    def execute(cls, evolver: str, vlm: VlmHandle | None = None) -> io.NodeOutput:
        return io.NodeOutput(actor_handle(EVOLVERS, vlm, {"evolver": evolver}))


def vlm_input(names: str) -> io.Input:
    return VlmSocket.Input(
        "vlm",
        optional=True,
        tooltip=f"A vision-language model, for {names} only.",
    )


LOADERS = [
    FluxLoader,
    CorrectorLoader,
    FluxSampling,
    VerifierLoader,
    WriterLoader,
    EvolverLoader,
]
