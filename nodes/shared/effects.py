"""Settings and wires without effect: the command line refuses them, a node says so and goes on,
because graphs of earlier versions hold such settings, and a strategy is changed to compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...reflectionflow_core.search.strategies import (
    axes_in_force,
    draws_noise,
    starts_from_parents,
    strategy_named,
)
from ...reflectionflow_core.settings import SearchSettings

DEFAULTS = SearchSettings()


def _strategy(*names: str) -> Callable[[SearchSettings], bool]:
    return lambda settings: settings.strategy in names


# By the setting: its name on the node, what it is for, and whether that is the case.
NEEDS: Mapping[str, tuple[str, str, Callable[[SearchSettings], bool]]] = {
    "policy": ("policy", "the strategy adaptive", _strategy("adaptive")),
    "context": ("context", "the strategy in-context", _strategy("in-context")),
    "stages": ("plan", "the strategy staged", _strategy("staged")),
    "parents": (
        "parents",
        "the strategies reflection, noise+prompt, staged and in-context, where rounds start from a "
        "picture",
        starts_from_parents,
    ),
    "noise_search": ("noise_search", "rounds with new noise", draws_noise),
    "radius": (
        "radius",
        "noise_search zero_order",
        lambda settings: settings.noise_search == "zero_order" and draws_noise(settings),
    ),
}


# The same by the input of an actor.
ACTORS: Mapping[str, tuple[str, Callable[[SearchSettings], bool]]] = {
    "writer": ("corrections", lambda settings: "reflection" in axes_in_force(settings)),
    "evolver": ("rewritten prompts", lambda settings: "prompt" in axes_in_force(settings)),
    "inspector": (
        "the strategy staged",
        lambda settings: strategy_named(settings.strategy).in_stages,
    ),
}


def unused_text(settings: SearchSettings, chosen: Mapping[str, Any]) -> str:
    """A sentence for each changed setting and each of the actors in `chosen` without effect; "" if
    there is none."""
    unused = [
        (shown, what)
        for name, (shown, what, holds) in NEEDS.items()
        if getattr(settings, name) != getattr(DEFAULTS, name) and not holds(settings)
    ] + [
        (name, what)
        for name, (what, holds) in ACTORS.items()
        if chosen.get(name) and not holds(settings)
    ]
    return "\n".join(f"{shown} has no effect here: it is for {what}." for shown, what in unused)
