"""A painter from any MODEL, CLIP and VAE that ComfyUI samples pictures with."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from .comfy.diffusers_flux import explained_imports
from .comfy.families import (
    AS_TEMPLATE,
    FLUX2_SCHEDULE,
    VARIANTS,
    family_of,
    files_before,
)
from .native import size_input
from .shared.progress import say
from .shared.schema import check_texts, flux_output, output, schema


class PainterFromModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "PainterFromModel",
            display_name="Painter from MODEL, CLIP, VAE",
            description="Lets the search paint with the model that you have: Qwen-Image, Z-Image, "
            "Krea 2, FLUX, Stable Diffusion 3 or XL and others. It paints as the model's official "
            "template does; every setting can be changed.",
            search_aliases=["qwen image", "z-image", "krea 2", "flux2", "klein", "sd3", "sdxl"],
            inputs=[
                io.Model.Input("model", tooltip="Any MODEL that paints pictures from text."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                io.Vae.Input("vae", tooltip="Its VAE."),
                size_input("width"),
                size_input("height"),
                *template_inputs(),
                io.String.Input(
                    "negative",
                    multiline=True,
                    default="",
                    tooltip="What the pictures should not show. It needs a cfg above 1.",
                ),
                io.Combo.Input(
                    "variant",
                    options=list(VARIANTS),
                    default="recognise",
                    tooltip="Whether the MODEL is distilled, that is made for few steps or without "
                    "cfg. recognise looks at the model and at the names of its files, such as "
                    "turbo, lightning or base.",
                    extra_dict={"advanced": True},
                ),
                io.Sampler.Input(
                    "custom_sampler", optional=True, tooltip="Used in place of the sampler above."
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels, used in place of steps and scheduler.",
                ),
            ],
            outputs=[
                flux_output("Paints. For corrections add Edit Model as Corrector behind it."),
                output(io.String, "settings", "The family, and what it paints with."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, negative: str | None = None) -> bool | str:
        return check_texts([negative])

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        width: int,
        height: int,
        variant: str,
        **asked: Any,
    ) -> io.NodeOutput:
        with explained_imports():
            from .comfy.painter_model import model_painter
            from .comfy.painter_settings import TemplateOverrides
        files = files_before(cls.hidden.prompt or {}, str(cls.hidden.unique_id), "model")
        family = family_of(model, " ".join(files), variant)
        painter = model_painter(
            (model, clip, vae), (width, height), TemplateOverrides(**asked), family
        )
        text = painter.described
        say(str(cls.hidden.unique_id), text)
        return io.NodeOutput(painter, text)


def template_inputs() -> list[io.Input]:
    """How to sample, each left to the family's template unless set."""
    return [
        io.Int.Input(
            "steps",
            default=0,
            min=0,
            max=1000,
            tooltip="Diffusion steps of one picture; 0: as its template.",
        ),
        _number("cfg", 100.0, "Classifier-free guidance; 1 switches it off and halves the time"),
        _number("guidance", 30.0, "Guidance of models that learned it (FLUX.1-dev, FLUX.2-dev)"),
        _number(
            "shift",
            100.0,
            "Shift of the noise levels; a ModelSampling node before this one is kept",
        ),
        io.Combo.Input(
            "sampler",
            options=[AS_TEMPLATE, *comfy.samplers.SAMPLER_NAMES],
            default=AS_TEMPLATE,
            tooltip="As KSampler.",
        ),
        io.Combo.Input(
            "scheduler",
            options=[AS_TEMPLATE, FLUX2_SCHEDULE, *comfy.samplers.SCHEDULER_NAMES],
            default=AS_TEMPLATE,
            tooltip="How the noise decreases from step to step, as in KSampler; "
            f"{FLUX2_SCHEDULE}: as Flux2Scheduler.",
        ),
    ]


def _number(name: str, most: float, tooltip: str) -> io.Input:
    return io.Float.Input(
        name,
        default=0.0,
        min=0.0,
        max=most,
        step=0.01,
        tooltip=f"{tooltip}; 0: as its template.",
        extra_dict={"advanced": name == "shift"},
    )


PAINTERS = [PainterFromModel]
