"""Checks of a search before anything is painted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

from ..judge_errors import JudgeErrors
from ..protocols import Actors, Screening
from ..record import History, InputError
from ..settings import SearchSettings
from ..texts import usable_text
from .budget import most_calls, most_steps
from .strategies import axes_in_force, rounds_of, strategy_named

DEFAULTS = SearchSettings()


def check_search(prompt: str, settings: SearchSettings, actors: Actors, history: History) -> None:
    """Raises InputError for what would fail later, and for a budget below the cost of a picture.

    A history without pictures may already have a cost: of a plan or thought, or of pictures that
    could not be judged.
    """
    if not usable_text(prompt, "prompt").strip():
        raise InputError("The prompt is empty. Say in words what to paint.")
    check_actors(settings, actors)
    requests, budget = next(rounds_of(settings)), settings.budget
    if len(history) or not requests:
        return
    check_drafts(settings)
    calls_before = history.cost.vlm_calls
    if budget.images is not None and history.cost.images >= budget.images:
        raise InputError(
            f"The budget of {budget.images} pictures is used up by {history.cost.images} that "
            "could not be judged. Give a larger budget, or none."
        )
    if budget.steps is not None:
        price = history.cost.steps + most_steps(requests[0], actors)
        check_price("paint", price, "diffusion steps", budget.steps)
    if budget.vlm_calls is not None:
        what = "prepare and judge" if calls_before else "judge"
        price = calls_before + most_calls(requests[0], actors, settings)
        check_price(what, price, "VLM calls", budget.vlm_calls)


def check_understood(prompt: str, settings: SearchSettings, actors: Actors) -> None:
    """Raises InputError if an actor of the search cannot work with the prompt.

    Actors are shown no picture; a model may be asked once, to split the prompt into requirements.
    """
    actors.verifier.verify(prompt, [])
    axes = axes_in_force(settings) if settings.depth else ()
    if "reflection" in axes and actors.writer is not None:
        actors.writer.reflect(prompt, [])
    if "prompt" in axes and actors.evolver is not None:
        actors.evolver.evolve(prompt, [])


def check_drafts(settings: SearchSettings) -> None:
    """InputError if two chains would keep the noise of one draft and paint the same pictures."""
    drafts, width = settings.draft_count, settings.width
    chained = settings.depth > 0 and strategy_named(settings.strategy).chained
    if chained and drafts < width and "noise" not in axes_in_force(settings):
        there = "is only 1 draft" if drafts == 1 else f"are only {drafts} drafts"
        raise InputError(
            f"{width} chains would paint some pictures twice: there {there}, and the axis noise is "
            f"off. Give at least {width} drafts, fewer chains, or the axis noise."
        )


def check_price(what: str, price: int, unit: str, limit: int) -> None:
    if limit < price:
        raise InputError(
            f"To {what} one picture takes {price} {unit}, and the budget is {limit}. "
            "Give a larger budget, or none."
        )


def check_actors(settings: SearchSettings, actors: Actors) -> None:
    """Raises InputError if an actor that the strategy needs is missing or lacks an ability."""
    axes = axes_in_force(settings)
    strategy = strategy_named(settings.strategy)
    ability = strategy.ability
    if ability is not None and not all(
        isinstance(actors.generator, protocol) for protocol in ability.protocols
    ):
        raise InputError(
            f"The strategy {settings.strategy!r} {ability.needs}, which this painter cannot do. "
            "Choose another strategy, or another model or loader."
        )
    check_correcting(settings, axes)
    if strategy.in_stages:
        check_stages(settings, actors)
    if isinstance(actors.verifier, Screening):
        check_shortlist(settings, actors.verifier.shortlist)
    if settings.depth == 0:
        return
    for axis, role, actor in (
        ("reflection", "corrector", actors.corrector),
        ("reflection", "reflection writer", actors.writer),
        ("prompt", "prompt evolver", actors.evolver),
    ):
        if axis in axes and actor is None:
            raise InputError(
                f"The {axis} axis needs a {role}, and there is none. "
                f"Give one, or remove {axis} from the axes."
            )


def check_correcting(settings: SearchSettings, axes: Collection[str]) -> None:
    """Raises InputError for settings of corrections without effect, or in conflict."""
    chosen = {
        "correct": settings.correct == "regions",  # auto only says what to do if there are faults
        "accept": settings.accept != DEFAULTS.accept,
        "mask": settings.mask is not None,
    }
    for name, is_chosen in chosen.items():
        if is_chosen and "reflection" not in axes:
            raise InputError(
                f"The setting {name} is about corrections, and the strategy "
                f"{settings.strategy!r} makes none with these axes. Leave it out, or choose a "
                "strategy that corrects."
            )
    if settings.mask is not None and chosen["correct"]:
        raise InputError("With a mask, the setting correct has no effect. Leave one of them out.")
    if settings.accept == "unbroken" and settings.recheck:
        raise InputError(
            "The setting recheck skips requirements that were met before, and accept unbroken has "
            "to check them again. Leave one of them out."
        )


def check_trust(
    settings: SearchSettings, errors: JudgeErrors | None, given: Collection[str] = ()
) -> None:
    """Raises InputError for settings without effect, given the judge's known errors or None; called
    separately, since only the caller knows where the errors come from. Those that are `given` by
    name have their default value on purpose.
    """
    for f in fields(SearchSettings):
        chosen = f.name in given or getattr(settings, f.name) != f.default
        if f.name in ("trust", "looks") and chosen and errors is None:
            raise InputError(
                f"The setting {f.name} has no effect, since the error rates of this judge are not "
                "known. Measure them (reflectionflow judge, node Judge Error), or leave it out."
            )
    if errors is not None and settings.recheck:
        raise InputError(
            "The setting recheck reuses earlier answers, but with known error rates every answer "
            "must be new. Switch recheck off."
        )
    if errors is not None and not (errors.total.wrong_shown and errors.total.right_shown):
        raise InputError(
            "The errors of this judge were measured without a right or without a wrong statement. "
            "Measure them again with reflectionflow judge or the node Judge Error."
        )


def check_shortlist(settings: SearchSettings, shortlist: int) -> None:
    """Raises InputError for a shortlist that excludes no picture, or pictures to correct next."""
    rounds = settings.width if settings.depth else 0
    largest = min(settings.batch_size, max(first_pictures(settings), rounds))
    if largest <= shortlist:
        raise InputError(
            f"A shortlist of {shortlist} excludes nothing, since at most {largest} of this "
            "search's pictures are judged together. Choose more drafts and a larger batch size, a "
            "shorter list, or no screen."
        )
    axes = axes_in_force(settings) if settings.depth else ()
    if shortlist < settings.width and {"reflection", "prompt"} & {*axes}:
        raise InputError(
            f"{settings.width} chains continue from what the verifier finds wrong, but a shortlist "
            f"of {shortlist} leaves some of their pictures unjudged. Choose a shortlist of at "
            f"least {settings.width}, or fewer chains."
        )


def first_pictures(settings: SearchSettings) -> int:
    """How many pictures the first round has."""
    one_draft = settings.drafts is None and strategy_named(settings.strategy).one_draft
    return 1 if one_draft else settings.draft_count


def planned_pictures(settings: SearchSettings) -> int:
    """How many pictures the schedule of the strategy has: first ones, then one per chain and round,
    previews included."""
    return first_pictures(settings) + settings.width * settings.depth


def check_stages(settings: SearchSettings, actors: Actors) -> None:
    """Raises InputError if a staged search lacks its plan or its inspector."""
    if not settings.stages:
        raise InputError(
            f"The strategy {settings.strategy!r} needs a plan, and there is none. "
            "Let a planner write one, or choose 'reflection'."
        )
    if settings.draft_prompt is not None:
        raise InputError(
            f"The strategy {settings.strategy!r} paints its first pictures from its plan, so the "
            "draft prompt would never be used. Remove one of them."
        )
    if actors.inspector is None:
        raise InputError(
            f"The strategy {settings.strategy!r} inspects every stage, and there is no inspector. "
            "Give one, or choose 'reflection'."
        )
