"""Settings without effect: the command line refuses them, a node says so and goes on, because
graphs of earlier versions hold such settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...reflectionflow_core.search.strategies import draws_noise, starts_from_parents
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


def unused_text(settings: SearchSettings) -> str:
    """A sentence for each changed setting without effect; "" if there is none."""
    return "\n".join(
        f"{shown} has no effect here: it is for {what}."
        for name, (shown, what, holds) in NEEDS.items()
        if getattr(settings, name) != getattr(DEFAULTS, name) and not holds(settings)
    )
