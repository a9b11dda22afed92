"""The miniature's planner: splits a prompt by its grammar, without a language model."""

from __future__ import annotations

from dataclasses import replace

from ..protocols import SILENT, Progress
from ..record import ScenePlan, Stage
from ..settings import MAX_STAGES
from .evolver import layout, nearest
from .judge import items_of
from .prompts import ShapeGroup, Spec, parse


class RulePlanner:
    """Plans one stage for each thing of a prompt, or for each group if there are too many things.

    The object of a relation comes first, so that the other thing can be put beside it. With
    `whole_first` the first stage draws the whole prompt, and later ones add what is missing.
    """

    calls = 0

    def __init__(self, whole_first: bool = True) -> None:
        self.whole_first = whole_first

    def plan(self, prompt: str, progress: Progress = SILENT) -> ScenePlan:
        """Raises InputError for a prompt outside the miniature's grammar."""
        del progress  # takes a millisecond
        spec = parse(prompt)
        adds = in_order(spec)
        scenes = [_together(adds[: count + 1]) for count in range(len(adds))]
        texts = [str(Spec("", groups)) for groups in scenes[:-1]] + [prompt]
        stages = tuple(
            Stage(_instruction(added, spec, first=not i), text, tuple(map(str, groups)))
            for i, (added, text, groups) in enumerate(zip(adds, texts, scenes, strict=True))
        )
        if self.whole_first:
            stages = (replace(stages[0], scene=prompt), *stages[1:])
        return ScenePlan(stages)


class LayoutThinker:
    """Expands a miniature prompt before the first draft: gives every thing a position."""

    calls = 0

    def expand(self, prompt: str, progress: Progress = SILENT) -> str:
        del progress  # takes a millisecond
        return layout(nearest((), parse(prompt)))


def in_order(spec: Spec) -> list[ShapeGroup]:
    """What each stage adds, in order."""
    items = items_of(spec)
    adds = items if len(items) <= MAX_STAGES else list(spec.groups)
    return adds[::-1] if spec.relation else adds


def _together(adds: list[ShapeGroup]) -> tuple[ShapeGroup, ...]:
    """Equal things as one group, in the order in which they are added."""
    counts: dict[tuple[str, str | None], int] = {}
    for added in adds:
        kind = added.shape, added.colour
        counts[kind] = counts.get(kind, 0) + added.count
    return tuple(ShapeGroup(count, *kind) for kind, count in counts.items())


def _instruction(added: ShapeGroup, spec: Spec, first: bool) -> str:
    if first or not spec.relation:
        return f"add {added}"
    return f"add {added} {spec.relation} the {spec.groups[1].shape}"
