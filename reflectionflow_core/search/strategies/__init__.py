"""The strategies by name: each decides what every round paints, and asks no actor.

A strategy is a generator function and the axes that it can use; `SearchSettings.axes` may restrict
them, so every ablation of the paper is one setting. To add one, write a file here and a row below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...protocols import Previewing, Restarting
from ...record import InputError
from ...settings import AXES, Axis, SearchSettings
from .adaptive import adaptive
from .in_context import in_context
from .interleaved import interleaved
from .noise import noise
from .paths import paths
from .potential import potential
from .reflection import Rounds, reflection
from .scouts import scouts
from .staged import staged


@dataclass(frozen=True, slots=True)
class Ability:
    """What a generator must be able to do besides painting; `needs` says why in an error."""

    protocols: tuple[type, ...]
    needs: str


PREVIEWS = Ability((Previewing,), "looks at previews of pictures")
RESTARTS = Ability((Restarting,), "takes pictures back to noise and paints on from there")
SCOUTS = Ability((Previewing, Restarting), "looks at previews of pictures and paints on from them")


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy: its generator of rounds and the axes that it can use.

    `needs` are the axes that it requires. With `in_stages` it requires a plan and an inspector.
    `depth` is its default number of rounds after the first. If it is `chained`, each chain begins
    with its own draft; with `one_draft` the search has a single one by default. If it `continues`,
    the setting `parents` says what each chain corrects next. If it `ends`, a picture that passes
    ends it, whatever the stop rule.
    """

    rounds: Callable[[SearchSettings], Rounds]
    axes: tuple[Axis, ...]
    needs: tuple[Axis, ...] = ()
    in_stages: bool = False
    depth: int = 3
    ability: Ability | None = None
    chained: bool = False
    one_draft: bool = False
    continues: bool = False
    ends: bool = False


STRATEGIES: dict[str, Strategy] = {
    "noise": Strategy(noise, axes=("noise",)),
    "noise+prompt": Strategy(reflection, axes=("noise", "prompt"), chained=True, continues=True),
    "reflection": Strategy(reflection, axes=AXES, chained=True, continues=True),
    "adaptive": Strategy(adaptive, axes=AXES, one_draft=True, ends=True),
    "potential": Strategy(potential, axes=AXES, ability=PREVIEWS, chained=True),
    "scouts": Strategy(
        scouts,
        axes=AXES,
        needs=("noise",),
        depth=16,
        ability=SCOUTS,
        one_draft=True,
        ends=True,
    ),
    "paths": Strategy(paths, axes=("noise",), ability=RESTARTS, chained=True),
    "staged": Strategy(
        staged, axes=AXES, needs=("reflection",), in_stages=True, chained=True, continues=True
    ),
    "interleaved": Strategy(
        interleaved, axes=("noise", "reflection"), needs=("reflection",), depth=1, chained=True
    ),
    "in-context": Strategy(
        in_context, axes=AXES, needs=("reflection",), chained=True, continues=True
    ),
}


def strategy_named(name: str) -> Strategy:
    if name not in STRATEGIES:
        raise InputError(
            f"There is no strategy named {name!r}. Choose one of: {', '.join(STRATEGIES)}."
        )
    return STRATEGIES[name]


def axes_in_force(settings: SearchSettings) -> tuple[Axis, ...]:
    """What a round may change: the strategy's axes, as far as the settings allow. Raises InputError
    if none is left, or one that the strategy needs is missing."""
    strategy = strategy_named(settings.strategy)
    usable = strategy.axes
    axes = tuple(axis for axis in settings.axes if axis in usable)
    if not axes:
        raise InputError(
            f"The strategy {settings.strategy!r} can change {' and '.join(usable)} only, but the "
            f"axes are {', '.join(settings.axes)}. Add one of its axes, or choose 'reflection'."
        )
    if lacking := [axis for axis in strategy.needs if axis not in axes]:
        raise InputError(
            f"The strategy {settings.strategy!r} needs the axis {' and '.join(lacking)}. "
            "Add it to the axes, or choose another strategy."
        )
    return axes


def draws_noise(settings: SearchSettings) -> bool:
    """Whether rounds after the first draw new noise, so that it matters how they search for it."""
    return "noise" in axes_in_force(settings) and settings.strategy != "paths"


def starts_from_parents(settings: SearchSettings) -> bool:
    """Whether the setting `parents` has an effect: rounds start from pictures of their chains."""
    only_noise = axes_in_force(settings) == ("noise",) and settings.noise_search == "random"
    return strategy_named(settings.strategy).continues and not only_noise


def rounds_of(settings: SearchSettings) -> Rounds:
    """Runs the strategy on the axes in force; once it has ended, its rounds are empty."""
    strategy = strategy_named(settings.strategy)
    yield from strategy.rounds(replace(settings, axes=axes_in_force(settings)))
    while True:
        yield []
