"""The nodes that make what the others work with: FLUX, its corrector, and who judges and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.registry import (
    EVOLVERS,
    MINIATURE_WEIGHTS,
    VERIFIERS,
    WRITERS,
    ActorChoice,
    Row,
)
from .comfy.diffusers_flux import MINIATURE, load_diffusers_flux
from .shared.model_files import (
    check_lora,
    flux_folders,
    lora_input,
    lora_path,
    lora_stamp,
    missing,
    stamp,
)
from .shared.schema import ROOT, schema
from .shared.sockets import (
    EvolverSocket,
    Eyes,
    Flux,
    FluxSocket,
    Seat,
    VerifierSocket,
    VlmSocket,
    WriterSocket,
)

CATEGORY = f"{ROOT}/loaders"
DTYPES = ("bf16", "fp32")
FITS = ("squash", "fit")


class FluxLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "FluxLoader",
            display_name="FLUX Loader (ReflectionFlow)",
            category=CATEGORY,
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
                FluxSocket.Output("flux", display_name="FLUX", tooltip="Paints and corrects."),
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
            category=CATEGORY,
            description="Gives FLUX its corrector: a LoRA that acts on the picture to be corrected "
            "and on nothing else. The miniature has one already.",
            search_aliases=["reflection lora", "corrector"],
            inputs=[
                FluxSocket.Input("flux", display_name="FLUX", tooltip="From a FLUX loader."),
                lora_input(),
            ],
            outputs=[
                FluxSocket.Output("flux", display_name="FLUX", tooltip="Paints and corrects."),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora: str | None = None) -> bool | str:
        return check_lora(lora)

    @classmethod
    def fingerprint_inputs(cls, lora: str | None = None, **_: object) -> str:
        return lora_stamp(lora)

    @classmethod
    def execute(cls, flux: Flux, lora: str) -> io.NodeOutput:
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
                "leaves it as it comes in (FLUX Loader: 1024, the miniature 64).",
            )

        return schema(
            "FluxSampling",
            display_name="FLUX Sampling",
            category=CATEGORY,
            description="How FLUX paints: size, steps, guidance. Wherever 0 stands, the value that "
            "comes in holds.",
            search_aliases=["steps", "guidance", "resolution"],
            inputs=[
                FluxSocket.Input("flux", display_name="FLUX", tooltip="From a FLUX loader."),
                side("width"),
                side("height"),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Diffusion steps of one picture; 0 leaves it as it comes in (FLUX "
                    "Loader: 30, the miniature 12).",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How literally FLUX takes the prompt; 0 leaves it as it comes in (FLUX "
                    "Loader: 3.5).",
                ),
                io.Int.Input(
                    "condition_size",
                    default=0,
                    min=0,
                    max=4096,
                    step=16,
                    tooltip="Longer side in pixels of the picture as the corrector sees it; 0 "
                    "leaves it as it comes in (FLUX Loader: 512 as in the paper, the miniature "
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
                FluxSocket.Output("flux", display_name="FLUX", tooltip="The same FLUX, so set."),
            ],
        )

    @classmethod
    def execute(cls, flux: Flux, condition_fit: str, **numbers: float) -> io.NodeOutput:
        changes = {name: value for name, value in numbers.items() if value}
        return io.NodeOutput(flux.with_sampling(condition_fit=condition_fit, **changes))


class VerifierLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VerifierLoader",
            display_name="Verifier Loader",
            category=CATEGORY,
            description="Who judges the pictures.",
            search_aliases=["judge", "reward"],
            inputs=[
                io.Combo.Input(
                    "verifier",
                    options=[name for name, row in VERIFIERS.items() if not row.source],
                    default="exact",
                    tooltip="exact reads the miniature's shapes by rules; noisy turns some of its "
                    "verdicts around. Both know prompts and pictures of such shapes only. "
                    "checklist, rubric, yes-no and tournament ask a vision-language model, about "
                    "any prompt.",
                ),
                io.Float.Input(
                    "error",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="For the noisy verifier: the share of verdicts that it turns around; 0 "
                    "is its own 0.1.",
                    extra_dict={"advanced": True},
                ),
                vlm_input("checklist, rubric, yes-no and tournament"),
            ],
            outputs=[VerifierSocket.Output("verifier", display_name="verifier", tooltip="Judges.")],
        )

    @classmethod
    def execute(cls, verifier: str, error: float, vlm: Eyes | None = None) -> io.NodeOutput:
        if verifier == "exact" and error:
            raise InputError(
                "The exact verifier makes no errors. Choose the noisy one, or set error to 0."
            )
        if verifier != "noisy" and error:
            raise InputError(f"The errors of the verifier {verifier} are its own. Set error to 0.")
        chosen = {"verifier": verifier, "verifier_error": error or None}
        return io.NodeOutput(seat(VERIFIERS, vlm, chosen))


class WriterLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "WriterLoader",
            display_name="Reflection Writer Loader",
            category=CATEGORY,
            description="Who says what should change in a picture.",
            search_aliases=["critic"],
            inputs=[
                io.Combo.Input(
                    "writer",
                    options=list(WRITERS),
                    default="template",
                    tooltip="template turns what the verifier found wrong into instructions, "
                    "without a model. vlm asks one that looks; two-lists asks it also what is "
                    "crude; reflection-generator asks the published model of that name.",
                ),
                vlm_input("all but template"),
            ],
            outputs=[WriterSocket.Output("writer", display_name="writer", tooltip="Writes.")],
        )

    @classmethod
    def execute(cls, writer: str, vlm: Eyes | None = None) -> io.NodeOutput:
        return io.NodeOutput(seat(WRITERS, vlm, {"writer": writer}))


class EvolverLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "EvolverLoader",
            display_name="Prompt Evolver Loader",
            category=CATEGORY,
            description="Who sharpens the prompt in view of a picture.",
            search_aliases=["prompt enhancer"],
            inputs=[
                io.Combo.Input(
                    "evolver",
                    options=list(EVOLVERS),
                    default="rules",
                    tooltip="rules spells the prompt out; layout also says where everything stands "
                    "in a right picture. Both know prompts about the miniature's shapes only. vlm "
                    "lets a vision-language model rewrite any prompt, in view of the picture.",
                ),
                vlm_input("vlm"),
            ],
            outputs=[EvolverSocket.Output("evolver", display_name="evolver", tooltip="Rewrites.")],
        )

    @classmethod
    def execute(cls, evolver: str, vlm: Eyes | None = None) -> io.NodeOutput:
        return io.NodeOutput(seat(EVOLVERS, vlm, {"evolver": evolver}))


def vlm_input(names: str) -> io.Input:
    return VlmSocket.Input(
        "vlm",
        optional=True,
        tooltip=f"A vision-language model, for {names}; nobody else takes one.",
    )


def seat(rows: Mapping[str, Row[Any]], eyes: Eyes | None, chosen: Mapping[str, Any]) -> Seat:
    """An actor of the core's registry: the first of the chosen values is its name.

    Raises InputError where it needs a vision-language model and has none, or the other way round.
    """
    kind, name = next(iter(chosen.items()))
    if rows[name].asks_vlm and eyes is None:
        raise InputError(
            f"The {kind} {name} asks a vision-language model, and none is wired. Wire one into "
            "vlm: Vision-Language Model: endpoint, local or from CLIP."
        )
    if not rows[name].asks_vlm and eyes is not None:
        others = " or ".join(other for other, row in rows.items() if row.asks_vlm)
        raise InputError(
            f"The {kind} {name} asks no vision-language model, and one is wired. Take that wire "
            f"away, or choose {others}."
        )
    actor = rows[name].build(ActorChoice(**chosen), eyes and eyes.vlm)
    return Seat(actor, chosen, (eyes,) if eyes else ())


LOADERS = [
    FluxLoader,
    CorrectorLoader,
    FluxSampling,
    VerifierLoader,
    WriterLoader,
    EvolverLoader,
]
