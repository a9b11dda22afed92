"""The models that paint: what builds their painters, and their default settings.

A model is the miniature, FLUX.1, or any other pipeline of diffusers; registry.py has their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .choice import ActorChoice
from .flux.settings import ConditionSettings, SamplingSettings
from .miniature.settings import CONDITION, SAMPLING
from .protocols import Painter
from .record import InputError

FLUX_SAMPLING, FLUX_CONDITION = SamplingSettings(), ConditionSettings()

Painters = tuple[Painter, Painter | None]
NO_GUIDANCE = "it was distilled to paint without guidance"
FOR_FLUX = "it is for FLUX.1 and its corrector"
NOT_FLUX = {
    "transformer": FOR_FLUX,
    "lora": f"{FOR_FLUX}; other models correct with --edit-model FOLDER",
    "condition_size": FOR_FLUX,
    "condition_fit": FOR_FLUX,
    "prompt_style": FOR_FLUX,
}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What builds the painters of a model, and its default settings.

    `build` gets the choice and whether pictures will be corrected. `refused` has the options
    without effect, and why.
    """

    build: Callable[[ActorChoice, bool], Painters]
    sampling: SamplingSettings = FLUX_SAMPLING
    condition: ConditionSettings = FLUX_CONDITION
    refused: Mapping[str, str] = field(default_factory=dict)


def miniature(choice: ActorChoice, corrects: bool) -> Painters:
    from .miniature.model import load_miniature

    sampling, condition = choice.sampling or SAMPLING, choice.condition or CONDITION
    unusable = {
        "--transformer": choice.transformer,
        "--size": (sampling.width, sampling.height) != (SAMPLING.width, SAMPLING.height),
        "--dtype": choice.dtype,
        "--offload": choice.plan,
        "--condition-size": condition.size != CONDITION.size,
        "--condition-fit": condition.fit != CONDITION.fit,
        "--edit-model": choice.edit_model,
    }
    for option in (option for option, asked in unusable.items() if asked):
        raise InputError(
            f"The miniature does not take {option}. Leave it out, or choose a FLUX folder."
        )
    generator, corrector = load_miniature(
        choice.lora, sampling, condition, **choice.given("device")
    )
    return generator, corrector if corrects else None


def flux(choice: ActorChoice, corrects: bool) -> Painters:
    """FLUX of any size on diffusers, with the corrector LoRA where pictures are corrected."""
    check_corrector(choice, corrects)
    check_size(choice, corrects)
    from .flux.load import load_flux
    from .flux.lora import load_corrector_lora
    from .flux.painter import FluxCorrector, FluxGenerator

    loaded = load_flux(choice.model, **choice.given("transformer", "dtype", "device", "plan"))
    sampling = choice.sampling or FLUX_SAMPLING
    generator = FluxGenerator(loaded, sampling)
    if corrects and choice.edit_model is not None:
        return generator, editor(choice)
    if not corrects or choice.lora is None:
        return generator, None
    lora = load_corrector_lora(choice.lora, loaded.transformer)
    return generator, FluxCorrector(loaded, lora, sampling, choice.condition)


def check_corrector(choice: ActorChoice, corrects: bool) -> None:
    """Raises InputError for a FLUX.1 that has to correct pictures, but has no corrector."""
    if corrects and not choice.lora and not choice.edit_model:
        raise InputError(
            f"The reflection strategy corrects pictures, and {choice.model} comes without a "
            "corrector. Give its LoRA with --lora FILE or an editing model with --edit-model "
            "FOLDER, or choose --strategy noise."
        )


def check_size(choice: ActorChoice, corrects: bool) -> None:
    """Raises InputError if the model that corrects cannot edit pictures of the requested size."""
    from .pipelines.kinds import check_edited_size, kind_of

    edits = choice.model != "miniature" and (choice.edit_model or not choice.lora)
    if corrects and edits and choice.sampling is not None:
        size = choice.sampling.width, choice.sampling.height
        check_edited_size(kind_of(choice.edit_model or choice.model), size)


def editor(choice: ActorChoice) -> Painter:
    """The editing pipeline that corrects what FLUX.1 paints."""
    from .pipelines.load import editor_alone

    how = choice.given("dtype", "device", "plan")
    return editor_alone(choice.edit_model or "", choice.edit_steps, choice.edit_guidance, **how)


def pipeline(choice: ActorChoice, corrects: bool) -> Painters:
    """Any other text-to-image pipeline of diffusers, with an editing one as the corrector."""
    from .pipelines.kinds import kind_of
    from .pipelines.load import painters

    check_size(choice, corrects)
    edit = kind_of(choice.edit_model) if corrects and choice.edit_model else None
    how = choice.given("dtype", "device", "plan", "edit_steps", "edit_guidance")
    return painters(kind_of(choice.model), choice.sampling, corrects, edit, **how)
