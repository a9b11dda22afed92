"""The miniature's planner: splits a prompt by its grammar, without a language model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..protocols import SILENT, Progress
from ..record import ScenePlan, Stage
from ..settings import MAX_STAGES
from .evolver import is_sized, layout, nearest
from .judge import items_of, relations_of
from .prompts import Relation, ShapeGroup, Spec, parse


class RulePlanner:
    """Plans one stage for each thing of a prompt, or for each group if there are too many things.

    What a relation is to comes first, so that the other thing can be put beside it. With
    `whole_first` the first stage draws the whole prompt, and later ones add what is missing.
    """

    calls = 0

    def __init__(self, whole_first: bool = True) -> None:
        self.whole_first = whole_first

    def plan(self, prompt: str, progress: Progress = SILENT) -> ScenePlan:
        """Raises InputError for a prompt outside the miniature's grammar."""
        del progress  # takes a millisecond
        spec = parse(prompt)
        adds, instructions = in_order(spec)
        scenes = [_together(adds[: count + 1]) for count in range(len(adds))]
        texts = [str(Spec("", groups)) for groups in scenes[:-1]] + [prompt]
        stages = tuple(
            Stage(instruction, text, tuple(map(str, groups)))
            for instruction, text, groups in zip(instructions, texts, scenes, strict=True)
        )
        if self.whole_first:
            stages = (replace(stages[0], scene=prompt), *stages[1:])
        return ScenePlan(stages)


class LayoutThinker:
    """Expands a miniature prompt before the first draft: gives every thing a position."""

    calls = 0

    def expand(self, prompt: str, progress: Progress = SILENT) -> str:
        del progress  # takes a millisecond
        spec = parse(prompt)
        return layout(nearest((), spec), is_sized(spec))


def in_order(spec: Spec) -> tuple[list[ShapeGroup], list[str]]:
    """What each stage adds and how it is told to, in order: what a relation is to, comes first."""
    adds, relations = items_of(spec), relations_of(spec)
    if len(adds) > MAX_STAGES:
        adds, relations = list(spec.groups), list(spec.relations)
    related = {relation.subject: relation for relation in relations}
    order = sorted(range(len(adds)), key=lambda number: number in related)
    instructions = [f"add {adds[number]}" + _beside(related.get(number), adds) for number in order]
    return [adds[number] for number in order], instructions


def _together(adds: list[ShapeGroup]) -> tuple[ShapeGroup, ...]:
    """Equal things as one group, in the order in which they are added."""
    counts = Counter[ShapeGroup]()
    for added in adds:
        counts[replace(added, count=1)] += added.count
    return tuple(replace(kind, count=count) for kind, count in counts.items())


def _beside(relation: Relation | None, adds: list[ShapeGroup]) -> str:
    if relation is None:
        return ""
    things = " and ".join(f"the {adds[number].shape}" for number in relation.objects)
    return f" {relation.name} {things}"
