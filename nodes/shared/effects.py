"""Settings without effect: the command line refuses them, a node says so and goes on, because
graphs of earlier versions hold such settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...reflectionflow_core.search.strategies import axes_in_force
from ...reflectionflow_core.settings import SearchSettings

DEFAULTS = SearchSettings()


def _draws_noise(settings: SearchSettings) -> bool:
    return "noise" in axes_in_force(settings) and settings.strategy != "paths"


def _strategy(*names: str) -> Callable[[SearchSettings], bool]:
    return lambda settings: settings.strategy in names


# By the setting: its name on the node, what it is for, and whether that is the case.
NEEDS: Mapping[str, tuple[str, str, Callable[[SearchSettings], bool]]] = {
    "policy": ("policy", "the strategy adaptive", _strategy("adaptive")),
    "context": ("context", "the strategy in-context", _strategy("in-context")),
    "stages": ("plan", "the strategy staged", _strategy("staged")),
    "parents": (
        "parents",
        "the strategies reflection, noise+prompt, staged and in-context",
        _strategy("reflection", "noise+prompt", "staged", "in-context"),
    ),
    "noise_search": ("noise_search", "rounds with new noise", _draws_noise),
    "radius": (
        "radius",
        "noise_search zero_order",
        lambda settings: settings.noise_search == "zero_order" and _draws_noise(settings),
    ),
}


def unused_text(settings: SearchSettings) -> str:
    """A sentence for each changed setting without effect; "" if there is none."""
    return "\n".join(
        f"{shown} has no effect here: it is for {what}."
        for name, (shown, what, holds) in NEEDS.items()
        if getattr(settings, name) != getattr(DEFAULTS, name) and not holds(settings)
    )
