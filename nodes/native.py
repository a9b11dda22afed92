"""The corrector on ComfyUI's own MODEL, for KSampler and everything else that samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
import node_helpers
from comfy_api.latest import io
from torch import Tensor

from ..reflectionflow_core.flux.condition import ConditionSettings, resized
from ..reflectionflow_core.flux.lora import read_corrector_lora
from ..reflectionflow_core.record import InputError
from .loaders import CATEGORY, FITS, check_lora, lora_input, stamp
from .native_branch import KEY, flux_of, with_corrector
from .native_lora import NativeLora, native_shapes
from .schema import ROOT, schema
from .tensors import to_batch, to_pictures


class LoadCorrector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LoadCorrector",
            display_name="Load Corrector",
            category=CATEGORY,
            description="Teaches a FLUX.1 MODEL to correct pictures. It paints as before where no "
            "Corrector Conditioning gives it one, and both share the same weights in memory.",
            search_aliases=["reflection lora", "corrector"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="FLUX.1-dev as ComfyUI loads it: bf16, fp8 or GGUF, with style LoRAs "
                    "or without.",
                ),
                lora_input(),
            ],
            outputs=[
                io.Model.Output(
                    "model", display_name="MODEL", tooltip="For KSampler and every other sampler."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, lora: str | None = None) -> bool | str:
        return check_lora(lora)

    @classmethod
    def fingerprint_inputs(cls, lora: str | None = None, **_: object) -> str:
        path = folder_paths.get_full_path("loras", lora) if lora else None
        return stamp(Path(path)) if path else ""

    @classmethod
    def execute(cls, model: Any, lora: str) -> io.NodeOutput:
        flux = flux_of(model)
        path = folder_paths.get_full_path_or_raise("loras", lora)
        read = read_corrector_lora(path, native_shapes(flux))
        return io.NodeOutput(with_corrector(model, NativeLora(read, flux)))


class CorrectorConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "CorrectorConditioning",
            display_name="Corrector Conditioning",
            category=ROOT,
            description="Shows the corrector the picture that it shall repaint. The words belong "
            "in the text: your prompt, then [Reflexion], then what to change.",
            search_aliases=["reference", "condition image"],
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="From CLIP Text Encode."),
                io.Vae.Input("vae", tooltip="FLUX's VAE."),
                io.Image.Input(
                    "images",
                    tooltip="The picture to correct: one for all, or one for each latent of the "
                    "batch.",
                ),
                io.Int.Input(
                    "condition_size",
                    default=512,
                    min=16,
                    max=4096,
                    step=16,
                    tooltip="Longer side in pixels of the picture as the corrector sees it. The "
                    "published corrector was trained at 512.",
                    extra_dict={"advanced": True},
                ),
                io.Combo.Input(
                    "condition_fit",
                    options=list(FITS),
                    default="squash",
                    tooltip="squash makes the picture square, as in training; fit keeps its shape.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="CONDITIONING",
                    tooltip="The positive of a sampler whose MODEL comes from Load Corrector.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, conditioning: Any, vae: Any, images: Tensor, condition_size: int, condition_fit: str
    ) -> io.NodeOutput:
        if any("reference_latents" in told for _, told in conditioning):
            raise InputError(
                "This conditioning holds a reference picture already, and the corrector looks at "
                "one only. Take Reference Latent out, or use a conditioning of its own."
            )
        settings = ConditionSettings(condition_size, condition_fit)
        seen = to_batch([resized(picture, settings) for picture in to_pictures([images])])
        told = {"reference_latents": [vae.encode(seen)], "reference_latents_method": KEY}
        return io.NodeOutput(node_helpers.conditioning_set_values(conditioning, told))


NATIVE = [LoadCorrector, CorrectorConditioning]
