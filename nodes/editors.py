"""The nodes that let other models correct: editing models, and image to image."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .comfy.diffusers_flux import explained_imports
from .comfy.families import Family, family_of, files_before
from .painter import denoise_input, template_inputs, variant_input
from .shared.schema import flux_input, flux_output, schema
from .shared.sockets import FluxHandle

CORRECTED_FLUX = flux_output("The same painter, with this model as its corrector.")
HIDDEN = [io.Hidden.unique_id, io.Hidden.prompt]
# Which these nodes once gave every model by default, those without a guidance too.
ONCE_DEFAULT = (2.5, 3.5)


class EditCorrectorNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "EditCorrector",
            display_name="Edit Model as Corrector",
            description="Lets an editing model correct the pictures: FLUX.1 Kontext, FLUX.2, "
            "Qwen-Image-Edit and others. It gets the reflection in plain words.",
            search_aliases=["kontext", "qwen image edit", "flux2", "klein", "omnigen"],
            inputs=[
                flux_input("Who paints the drafts."),
                *model_inputs("The editing model"),
                *sampling_inputs(),
            ],
            outputs=[CORRECTED_FLUX],
            hidden=HIDDEN,
        )

    @classmethod
    def execute(
        cls, flux: FluxHandle, model: Any, variant: str = "recognise", **given: Any
    ) -> io.NodeOutput:
        with explained_imports():
            from .comfy.edit_models import edit_model_of, edits_as
            from .comfy.editors import EditCorrector, WithCorrector
        files = " ".join(files_before(cls.hidden.prompt or {}, str(cls.hidden.unique_id), "model"))
        editor = edit_model_of(model, files)
        family = edits_as(editor, family_of(model, files, variant))
        corrector = EditCorrector(corrections_by(model, family, **given), editor)
        return io.NodeOutput(WithCorrector(flux, corrector, corrector.digest))


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
                *model_inputs("Any model that paints from text"),
                denoise_input(),
                *sampling_inputs(),
            ],
            outputs=[CORRECTED_FLUX],
            hidden=HIDDEN,
        )

    @classmethod
    def execute(
        cls, flux: FluxHandle, model: Any, denoise: float, variant: str = "recognise", **given: Any
    ) -> io.NodeOutput:
        with explained_imports():
            from .comfy.editors import ImageToImageCorrector, WithCorrector
        files = " ".join(files_before(cls.hidden.prompt or {}, str(cls.hidden.unique_id), "model"))
        painter = corrections_by(model, family_of(model, files, variant), **given)
        corrector = ImageToImageCorrector(painter, denoise)
        return io.NodeOutput(WithCorrector(flux, corrector, corrector.digest))


def corrections_by(
    model: Any, family: Family, clip: Any, vae: Any, guidance: float, **asked: Any
) -> Any:
    """A ModelPainter for corrections, which have the size of the picture to correct."""
    from .comfy.painter_model import model_painter
    from .comfy.painter_settings import TemplateOverrides

    if family.guidance is None and guidance in ONCE_DEFAULT:
        guidance = 0.0
    painter = model_painter(
        (model, clip, vae), (1024, 1024), TemplateOverrides(guidance=guidance, **asked), family
    )
    painter.conditioning("")  # refuses another model's CLIP before anything is painted
    return painter


def model_inputs(what: str) -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip=f"{what}."),
        io.Clip.Input("clip", tooltip="Its text encoder."),
        io.Vae.Input("vae", tooltip="Its VAE."),
    ]


def sampling_inputs() -> list[io.Input]:
    """Those of Painter from MODEL, in the order in which these nodes once had their own."""
    known = {each.id: each for each in (*template_inputs(), variant_input())}
    for name in ("shift", "variant"):  # graphs from before do without
        known[name].optional = True
    order = ("steps", "guidance", "sampler", "scheduler", "cfg", "shift", "variant")
    return [known[name] for name in order]


EDITORS = [EditCorrectorNode, ImageToImageCorrectorNode]
