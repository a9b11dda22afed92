"""The strategies: each plans a round in view of all rounds before it, and asks nobody.

A strategy is a planner and the axes that it can use; `SearchSettings.axes` may narrow them, so
every ablation row of the paper is one setting. A new strategy is a function and a row below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice

from ..record import (
    AXES,
    Axis,
    Candidate,
    History,
    InputError,
    Neighbour,
    SearchSettings,
    Seed,
)
from .seeds import fresh_seed
from .task import Task

Planner = Callable[[SearchSettings, History], list[Task]]


def plan_drafts(settings: SearchSettings) -> list[Task]:
    """Round 0: first pictures, each from its own noise."""
    return [Task(fresh_seed(settings.seed, 0, i)) for i in range(settings.first_round)]


def plan_noise(settings: SearchSettings, past: History) -> list[Task]:
    """Noise-level scaling (§3.4): new pictures of the user's prompt that descend from none.

    With zero-order search they lie around the best noise so far (Ma et al. 2025).
    """
    return [Task(new_noise(settings, past, i, past.best)) for i in range(settings.width)]


def plan_chains(settings: SearchSettings, past: History) -> list[Task]:
    """ReflectionFlow (§3.4, Appendix C): one picture a chain, made from its parent along the axes.

    Without the noise axis a picture keeps its parent's noise.
    """
    axes = axes_in_force(settings)
    return [
        Task(
            seed=new_noise(settings, past, i, parent) if "noise" in axes else parent.seed,
            parent=parent,
            corrects="reflection" in axes,
            evolves="prompt" in axes,
        )
        for i, parent in enumerate(choose_parents(settings, past))
    ]


@dataclass(frozen=True, slots=True)
class Strategy:
    """How the rounds after the drafts are planned, and the axes that this can use."""

    plan: Planner
    axes: tuple[Axis, ...]


STRATEGIES: dict[str, Strategy] = {
    "noise": Strategy(plan_noise, axes=("noise",)),
    "noise+prompt": Strategy(plan_chains, axes=("noise", "prompt")),
    "reflection": Strategy(plan_chains, axes=AXES),
}


def strategy_named(name: str) -> Strategy:
    if name not in STRATEGIES:
        raise InputError(
            f"There is no strategy named {name!r}. Choose one of: {', '.join(STRATEGIES)}."
        )
    return STRATEGIES[name]


def axes_in_force(settings: SearchSettings) -> tuple[Axis, ...]:
    """What a round may change: the strategy's axes that the settings leave on."""
    usable = strategy_named(settings.strategy).axes
    axes = tuple(axis for axis in settings.axes if axis in usable)
    if not axes:
        raise InputError(
            f"The strategy {settings.strategy!r} can change {' and '.join(usable)} only, and the "
            f"axes are {', '.join(settings.axes)}. Add one of its axes, or choose 'reflection'."
        )
    return axes


def new_noise(settings: SearchSettings, past: History, position: int, improved: Candidate) -> Seed:
    """A seed not used before, or with zero-order search a step towards it from a known noise."""
    seed = fresh_seed(settings.seed, len(past.rounds), position)
    if settings.noise_search == "zero_order":
        return Neighbour(improved.seed, seed, settings.radius)
    return seed


def choose_parents(settings: SearchSettings, past: History) -> list[Candidate]:
    """The picture that each chain goes on from: its latest (the paper) or its best so far."""
    if settings.parents == "best":
        return [max(chain, key=lambda member: member.score) for chain in chains(settings, past)]
    return [chain[-1] for chain in chains(settings, past)]


def chains(settings: SearchSettings, past: History) -> list[tuple[Candidate, ...]]:
    """Every chain from its draft on; at first the best drafts begin one each, by rank."""
    drafts, *corrected = past.rounds
    if corrected:
        return [past.chain(i) for i in range(settings.width)]
    # sorted is stable: the earlier of equal drafts ranks first. Too few drafts take turns.
    ranked = sorted(drafts, key=lambda draft: draft.score, reverse=True)
    return [(draft,) for draft in islice(cycle(ranked), settings.width)]
