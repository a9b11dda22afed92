"""A painter from any MODEL, CLIP and VAE that ComfyUI samples pictures with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..reflectionflow_core.record import InputError
from .comfy.diffusers_flux import explained_imports
from .comfy.families import (
    AS_TEMPLATE,
    FLUX2_SCHEDULE,
    VARIANTS,
    family_of,
    files_before,
)
from .native import size_input
from .shared.choices import choice_input, chosen
from .shared.progress import say
from .shared.schema import check_texts, flux_output, output, schema
from .shared.wires import usable_value

AS_IT_CAN, EDIT, PAINT_OVER = "as it can", "edit", "image to image"
CORRECTIONS = (AS_IT_CAN, EDIT, PAINT_OVER)


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
                variant_input(),
                io.Sampler.Input(
                    "custom_sampler", optional=True, tooltip="Used in place of the sampler above."
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels, used in place of steps and scheduler.",
                ),
                choice_input(
                    "corrections",
                    {AS_IT_CAN: [], EDIT: [], PAINT_OVER: [denoise_input()]},
                    "How the same model corrects. As it can: an editing model edits, any other "
                    "repaints a picture with denoise 0.75. Edit: for an editing model whose file "
                    "is named otherwise. Image to image: repaints as much as you say.",
                ),
            ],
            outputs=[
                flux_output("Paints, and corrects as far as the model can."),
                output(io.String, "settings", "The family, and what it paints with."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, negative: str | None = None, corrections: Any = None) -> bool | str:
        try:
            correcting(corrections)
        except InputError as error:
            return str(error)
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
        corrections: Any = None,
        **asked: Any,
    ) -> io.NodeOutput:
        with explained_imports():
            from .comfy.edit_models import edit_model_of, edits_as, surely_edits
            from .comfy.painter_model import model_painter
            from .comfy.painter_settings import TemplateOverrides
        how, given = correcting(corrections)
        files = files_before(cls.hidden.prompt or {}, str(cls.hidden.unique_id), "model")
        names = " ".join(files)
        ask = edit_model_of if how == EDIT else surely_edits
        editor = None if how == PAINT_OVER else ask(model, names)
        family = family_of(model, names, variant)
        family = edits_as(editor, family) if editor else family
        painter = model_painter(
            (model, clip, vae), (width, height), TemplateOverrides(**asked), family
        )
        painter = replace(painter, editor=editor, **given)
        text = painter.described
        say(str(cls.hidden.unique_id), text)
        return io.NodeOutput(painter, text)


def correcting(value: Any) -> tuple[str, dict[str, Any]]:
    """The choice and its inputs; raises InputError for what cannot be.

    An input of the choice is None before the graph runs.
    """
    how, given = chosen("corrections", value or AS_IT_CAN, CORRECTIONS)
    known = {name: number for name, number in given.items() if number is not None}
    return how, {name: usable_value(denoise_input(), False, n) for name, n in known.items()}


def denoise_input() -> io.Input:
    return io.Float.Input(
        "denoise",
        default=0.75,
        min=0.01,
        max=1.0,
        step=0.01,
        tooltip="How much of the picture is repainted; 1 keeps nothing of it.",
    )


def variant_input() -> io.Input:
    return io.Combo.Input(
        "variant",
        options=list(VARIANTS),
        default="recognise",
        tooltip="Whether the MODEL is distilled, that is made for few steps or without cfg. "
        "recognise looks at the model and at the names of its files, such as turbo, lightning or "
        "base.",
        extra_dict={"advanced": True},
    )


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
