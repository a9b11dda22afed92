"""The nodes that let other models correct: editing models, and image to image."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .comfy.diffusers_flux import explained_imports
from .native import sampling_inputs
from .shared.schema import flux_input, flux_output, schema
from .shared.sockets import FluxHandle

CORRECTED_FLUX = flux_output("The same FLUX, whose pictures this model corrects.")


class EditCorrectorNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "EditCorrector",
            display_name="Edit Model as Corrector",
            description="Lets an editing model correct the pictures: FLUX.1 Kontext, FLUX.2, "
            "Qwen-Image-Edit. It gets the reflection in plain words.",
            search_aliases=["kontext", "qwen image edit", "flux2"],
            inputs=[
                flux_input("Who paints the drafts."),
                *painter_inputs("The editing model"),
                *sampling_inputs(steps=20, guidance=2.5, scheduler="simple"),
                cfg_input(),
            ],
            outputs=[CORRECTED_FLUX],
        )

    @classmethod
    def execute(cls, flux: FluxHandle, **given: Any) -> io.NodeOutput:
        with explained_imports():
            from .comfy.editors import EditCorrector, ModelSampler, WithCorrector
        sampler = ModelSampler(**given)
        digest = f"edit {sampler.digest()}"
        return io.NodeOutput(WithCorrector(flux, EditCorrector(sampler), digest))


class ImageToImageCorrectorNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ImageToImageCorrector",
            display_name="Image to Image Corrector",
            description="Corrects a picture by painting over it with any model. Needs no special "
            "weights, but gets only the prompt and not what to change. Use a Prompt Evolver.",
            search_aliases=["img2img", "denoise"],
            inputs=[
                flux_input("Who paints the drafts."),
                *painter_inputs("Any model that paints from text"),
                io.Float.Input(
                    "denoise",
                    default=0.75,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the picture is repainted; 1 keeps nothing of it.",
                ),
                *sampling_inputs(steps=20, guidance=3.5, scheduler="simple"),
                cfg_input(),
            ],
            outputs=[CORRECTED_FLUX],
        )

    @classmethod
    def execute(cls, flux: FluxHandle, denoise: float, **given: Any) -> io.NodeOutput:
        with explained_imports():
            from .comfy.editors import ImageToImageCorrector, ModelSampler, WithCorrector
        sampler = ModelSampler(**given)
        digest = f"image to image {denoise} {sampler.digest()}"
        return io.NodeOutput(WithCorrector(flux, ImageToImageCorrector(sampler, denoise), digest))


def painter_inputs(what: str) -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip=f"{what}."),
        io.Clip.Input("clip", tooltip="Its text encoder."),
        io.Vae.Input("vae", tooltip="Its VAE."),
    ]


def cfg_input() -> io.Input:
    return io.Float.Input(
        "cfg",
        default=1.0,
        min=0.0,
        max=100.0,
        step=0.1,
        tooltip="Classifier-free guidance; 1 switches it off and halves the time. FLUX wants 1, "
        "Qwen-Image-Edit 2.5 to 4.",
        extra_dict={"advanced": True},
    )


EDITORS = [EditCorrectorNode, ImageToImageCorrectorNode]
