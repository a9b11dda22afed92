"""ReflectionFlow (§3.4, Appendix C): chains of pictures, each made from the one before."""

from __future__ import annotations

from collections.abc import Sequence

from ...record import Axis, Candidate, History, Request, SearchSettings
from .origins import Rounds, best_drafts, choose_parents, drafts, new_noise


def reflection(settings: SearchSettings) -> Rounds:
    """One picture a chain and a round, made from its parent along the axes of the settings."""
    past = yield drafts(settings)
    parents = best_drafts(settings, past)
    for _ in range(settings.depth):
        past = yield corrections(settings, past, parents)
        parents = choose_parents(settings, parents, latest=past.rounds[-1])


def corrections(
    settings: SearchSettings, past: History, parents: Sequence[Candidate]
) -> list[Request]:
    return [correction(settings, past, position, parent) for position, parent in enumerate(parents)]


def correction(
    settings: SearchSettings, past: History, position: int, parent: Candidate
) -> Request:
    """A parent changed along the axes; without the noise axis the picture keeps its noise."""
    axes = settings.axes
    return Request(
        seed=new_noise(settings, past, position, parent) if "noise" in axes else parent.seed,
        parent=parent,
        corrects="reflection" in axes,
        evolves="prompt" in axes,
        action=action_along(axes),
    )


def action_along(axes: tuple[Axis, ...]) -> str:
    """The word for what is done to a parent: that of the axis which changes most."""
    if "reflection" in axes:
        return "correct"
    return "evolve" if "prompt" in axes else "noise"
