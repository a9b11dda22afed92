"""Compares a picture with a prompt: every fault, in words that a writer turns into an edit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from .detector import BLOB
from .prompts import ShapeGroup, Spec
from .world import Scene, Thing

# GenEval's rule for positions: the offset points the asked way within 60 degrees.
_DIRECTIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
_COSINE = 0.5


@dataclass(frozen=True, slots=True)
class Fault:
    """One unmet requirement.

    `thing` is what is wrong, None if it is missing; `wanted` is what was asked for, None if `thing`
    should not be there; `beside` is set if only the position is wrong.
    """

    thing: Thing | None
    wanted: ShapeGroup | None
    relation: str | None = None
    beside: Thing | None = None

    @property
    def unmet(self) -> str:
        """In words: "missing a red circle", "extra blue square", "green circle is not red" ..."""
        if self.thing is None:
            where = f" {self.relation} the {self.beside.shape}" if self.beside else ""
            return f"missing {self.wanted}{where}"
        seen = in_words(self.thing)
        if self.wanted is None:
            return f"extra {seen}"
        if self.beside:
            return f"{self.thing.shape} is not {self.relation} the {self.beside.shape}"
        wrong_shape = self.thing.shape != self.wanted.shape
        wrong_colour = self.wanted.colour not in (None, self.thing.colour)
        if wrong_shape:
            return f"{seen} is not {self.wanted if wrong_colour else f'a {self.wanted.shape}'}"
        return f"{seen} is not {self.wanted.colour}"


def in_words(thing: Thing) -> str:
    """A thing in words, without an unknown colour: "red circle", "red blob", "blob"."""
    return thing.shape if thing.colour == BLOB else f"{thing.colour} {thing.shape}"


def holds(relation: str, first: Thing, second: Thing, cosine: float = _COSINE) -> bool:
    """Whether `first` is `relation` `second`; a larger `cosine` requires a clearer case."""
    dx, dy = first.x - second.x, first.y - second.y
    x, y = _DIRECTIONS[relation]
    return dx * x + dy * y > cosine * math.hypot(dx, dy)


def faults(scene: Scene, spec: Spec) -> tuple[Fault, ...]:
    """Every requirement of `spec` that `scene` does not meet, and every extra thing in it."""
    items = items_of(spec)
    assigned = assign(scene, spec)
    matched = [scene[index] if index is not None else None for index in assigned]
    found = [
        Fault(thing, item)
        for thing, item in zip(matched, items, strict=True)
        if thing is not None and distance(thing, item)
    ]
    found += [Fault(thing, None) for i, thing in enumerate(scene) if i not in assigned]
    found += _missing(matched, items, spec.relation)
    if spec.relation and all(matched):
        first, second = (thing for thing in matched if thing is not None)
        if not holds(spec.relation, first, second):
            found.append(Fault(first, items[0], spec.relation, second))
    return tuple(found)


def score(scene: Scene, spec: Spec) -> float:
    """Share of requirements met (0 to 1); every extra thing counts as one more, unmet."""
    asked = len(items_of(spec)) + (spec.relation is not None)
    found = faults(scene, spec)
    extra = sum(fault.wanted is None for fault in found)
    unmet = len(found) - extra
    # If a thing is missing, its position is wrong, too.
    if spec.relation and any(fault.thing is None for fault in found):
        unmet += 1
    return max(0, asked - unmet) / (asked + extra)


def items_of(spec: Spec) -> list[ShapeGroup]:
    """Every single thing that `spec` asks for, in order."""
    return [
        ShapeGroup(1, group.shape, group.colour)
        for group in spec.groups
        for _ in range(group.count)
    ]


def distance(thing: Thing, item: ShapeGroup) -> int:
    """How many of shape and colour are wrong: 0, 1 or 2."""
    return (thing.shape != item.shape) + (item.colour not in (None, thing.colour))


def assign(scene: Scene, spec: Spec) -> list[int | None]:
    """For each item the index of its thing, with the least total distance; None if none is left."""
    items = items_of(spec)
    if spec.relation and len(scene) >= 2:
        pairs = itertools.permutations(range(len(scene)), 2)
        return list(min(pairs, key=_cost(scene, items, spec.relation)))
    assigned: list[int | None] = [None] * len(items)
    if scene and items:
        costs = np.array([[distance(thing, item) for thing in scene] for item in items])
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            assigned[row] = int(column)
    return assigned


def _cost(
    scene: Scene, items: list[ShapeGroup], relation: str
) -> Callable[[tuple[int, ...]], float]:
    def cost(pair: tuple[int, ...]) -> float:
        first, second = (scene[index] for index in pair)
        misplaced = not holds(relation, first, second)
        return distance(first, items[0]) + distance(second, items[1]) + 0.5 * misplaced

    return cost


def _missing(
    matched: list[Thing | None], items: list[ShapeGroup], relation: str | None
) -> list[Fault]:
    missing = [item for thing, item in zip(matched, items, strict=True) if thing is None]
    if relation and len(missing) == 1 and matched[0] is None:
        return [Fault(None, missing[0], relation, matched[1])]
    if relation and len(missing) == 1:
        return [Fault(None, missing[0], _OPPOSITE[relation], matched[0])]
    return [Fault(None, item) for item in missing]


_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
