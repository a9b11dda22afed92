"""The corrector on ComfyUI's own MODEL, for KSampler and everything else that samples."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import node_helpers
from comfy_api.latest import io
from torch import Tensor

from ..reflectionflow_core.flux.condition import ConditionSettings
from ..reflectionflow_core.flux.lora import read_corrector_lora
from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.registry import MINIATURE_WEIGHTS
from .comfy import AS_FLUX
from .comfy.branch import KEY, flux_of, latents_of, with_corrector
from .comfy.diffusers_flux import explained_imports
from .comfy.lora import NativeLora, native_shapes
from .comfy.tensors import to_pictures
from .loaders import FITS
from .shared.model_files import check_lora, lora_input, lora_path, lora_stamp, stamp
from .shared.schema import flux_output, schema


class LoadCorrector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LoadCorrector",
            display_name="Load Corrector",
            description="Teaches a FLUX.1 MODEL to correct pictures. Without a Corrector "
            "Conditioning it paints as before, and no weights are copied.",
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
        return lora_stamp(lora)

    @classmethod
    def execute(cls, model: Any, lora: str) -> io.NodeOutput:
        flux = flux_of(model)
        read = read_corrector_lora(lora_path(lora), native_shapes(flux))
        return io.NodeOutput(with_corrector(model, NativeLora(read, flux)))


class CorrectorConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "CorrectorConditioning",
            display_name="Corrector Conditioning",
            description="Gives the corrector the picture to repaint. The words belong in the text: "
            "your prompt, then [Reflexion], then what to change.",
            search_aliases=["reference", "condition image"],
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="From CLIP Text Encode."),
                io.Vae.Input("vae", tooltip="FLUX's VAE."),
                io.Image.Input(
                    "images",
                    tooltip="The picture to correct: one for all, or one for each latent of the "
                    "batch.",
                ),
                *condition_inputs(),
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
        if any("reference_latents" in values for _, values in conditioning):
            raise InputError(
                "This conditioning already has a reference picture, and the corrector takes only "
                "one. Remove Reference Latent, or use another conditioning."
            )
        settings = ConditionSettings(condition_size, condition_fit)
        seen = latents_of(to_pictures([images]), vae, settings)
        values = {"reference_latents": [seen], "reference_latents_method": KEY}
        return io.NodeOutput(node_helpers.conditioning_set_values(conditioning, values))


class FluxFromModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "FluxFromModel",
            display_name="FLUX from MODEL, CLIP, VAE",
            description="Lets the search paint with the FLUX.1 that ComfyUI has loaded: bf16, fp8 "
            "or GGUF, with style LoRAs or without, in the memory that other nodes share.",
            search_aliases=["native flux", "gguf", "fp8", "checkpoint"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="FLUX.1; from Load Corrector, so that it can correct as well."
                ),
                io.Clip.Input("clip", tooltip="clip_l and t5xxl, from DualCLIPLoader, type flux."),
                io.Vae.Input("vae", tooltip="FLUX's VAE."),
                size_input("width"),
                size_input("height"),
                *sampling_inputs(steps=30, guidance=3.5, scheduler=AS_FLUX),
                *condition_inputs(),
            ],
            outputs=[flux_output("Paints; with a corrector in the MODEL, corrects too.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        sampler: str,
        scheduler: str,
        condition_size: int,
        condition_fit: str,
        **numbers: Any,
    ) -> io.NodeOutput:
        with explained_imports():
            from ..reflectionflow_core.flux.settings import SamplingSettings
            from .comfy.painter import ComfyFlux
        sampling = SamplingSettings(**numbers)
        condition = ConditionSettings(condition_size, condition_fit)
        return io.NodeOutput(ComfyFlux(model, clip, vae, sampling, condition, sampler, scheduler))


class MiniatureLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "MiniatureLoader",
            display_name="Miniature as MODEL, CLIP, VAE",
            description="The built-in miniature (64 x 64 pixels, no download) as ComfyUI's own "
            'models, to try graphs for FLUX.1 with. Its corrector is "miniature" in Load '
            "Corrector.",
            search_aliases=["tiny flux", "test model"],
            inputs=[],
            outputs=[
                io.Model.Output("model", display_name="MODEL", tooltip="A very small FLUX.1."),
                io.Clip.Output("clip", display_name="CLIP", tooltip="Its two text encoders."),
                io.Vae.Output("vae", display_name="VAE", tooltip="Its VAE."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return stamp(MINIATURE_WEIGHTS)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        with explained_imports():
            from .comfy.miniature import comfy_miniature
        return io.NodeOutput(*comfy_miniature(MINIATURE_WEIGHTS))


def size_input(name: str) -> io.Input:
    return io.Int.Input(
        name,
        default=1024,
        min=16,
        max=8192,
        step=16,
        tooltip=f"The {name} of every painted picture in pixels.",
    )


def condition_inputs() -> list[io.Input]:
    """The inputs for the fields of ConditionSettings."""
    return [
        io.Int.Input(
            "condition_size",
            default=512,
            min=16,
            max=4096,
            step=16,
            tooltip="Longer side in pixels of a picture as the corrector sees it. The published "
            "corrector was trained at 512.",
            extra_dict={"advanced": True},
        ),
        io.Combo.Input(
            "condition_fit",
            options=list(FITS),
            default="squash",
            tooltip="squash makes the picture square, as in training; fit keeps its shape.",
            extra_dict={"advanced": True},
        ),
    ]


def sampling_inputs(steps: int, guidance: float, scheduler: str) -> list[io.Input]:
    """`scheduler` is the default; AS_FLUX is offered only if it is the default."""
    schedulers, hint = list(comfy.samplers.SCHEDULER_NAMES), ""
    if scheduler == AS_FLUX:
        schedulers.insert(0, AS_FLUX)
        hint = f' "{AS_FLUX}" is the schedule that FLUX and its corrector were trained with.'
    return [
        io.Int.Input(
            "steps", default=steps, min=1, max=1000, tooltip="Diffusion steps of one picture."
        ),
        io.Float.Input(
            "guidance",
            default=guidance,
            min=0.0,
            max=30.0,
            step=0.1,
            tooltip="Guidance scale of models that were trained with it, such as FLUX: how "
            "closely they follow the prompt.",
        ),
        io.Combo.Input(
            "sampler", options=comfy.samplers.SAMPLER_NAMES, default="euler", tooltip="As KSampler."
        ),
        io.Combo.Input(
            "scheduler",
            options=schedulers,
            default=scheduler,
            tooltip=f"How the noise decreases from step to step, as in KSampler.{hint}",
        ),
    ]


NATIVE = [
    LoadCorrector,
    CorrectorConditioning,
    FluxFromModel,
    MiniatureLoader,
]
