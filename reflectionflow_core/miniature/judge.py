"""Compares a picture with a prompt: every fault, in words that a writer turns into an edit."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from .detector import BLOB
from .prompts import BETWEEN, SIDES, Relation, ShapeGroup, Spec
from .world import Scene, Thing

# GenEval's rule for positions: the offset points the asked way within 60 degrees.
_DIRECTIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
_COSINE = 0.5
_MOST_TRIED = 4000  # assignments of things to relations


@dataclass(frozen=True, slots=True)
class Fault:
    """One unmet requirement.

    `thing` is what is wrong, None if it is missing; `wanted` is what was asked for, None if `thing`
    should not be there. `relation` and the things that it is to, `beside`, are set if only the
    position is wrong, or to say where a missing thing belongs. `scene` is where it was found; it
    tells which words are needed to name a thing.
    """

    thing: Thing | None
    wanted: ShapeGroup | None
    relation: str | None = None
    beside: Scene = ()
    scene: Scene = ()

    @property
    def unmet(self) -> str:
        """In words: "missing a red circle", "extra blue square", "green circle is not red" ..."""
        where = " and ".join(f"the {self.placed(thing).noun}" for thing in self.beside)
        if self.thing is None:
            return " ".join(filter(None, (f"missing {self.wanted}", self.relation, where)))
        if self.wanted is None:
            return f"extra {self.named(self.thing).noun}"
        if self.beside:
            return f"{self.placed(self.thing).noun} is not {self.relation} {where}"
        return f"{self.named(self.thing).noun} {_differs(self.thing, self.wanted)}"

    def named(self, thing: Thing) -> ShapeGroup:
        """What is said of a thing: shape and colour; its size where these are another thing's too,
        of another size.
        """
        known = ShapeGroup(1, thing.shape, None if thing.colour == BLOB else thing.colour)
        sizes = {other.size for other in self.scene if _alike(thing, other)}
        return replace(known, size=thing.size) if len(sizes) > 1 else known

    def placed(self, thing: Thing) -> ShapeGroup:
        """What is said of a thing in a relation: its shape, and more where that is not enough."""
        alone = sum(thing.shape == other.shape for other in self.scene) < 2
        return ShapeGroup(1, thing.shape) if alone else self.named(thing)


def _alike(thing: Thing, other: Thing) -> bool:
    return (thing.shape, thing.colour) == (other.shape, other.colour)


def _differs(thing: Thing, wanted: ShapeGroup) -> str:
    wrong = {
        "size": wanted.size not in (None, thing.size),
        "colour": wanted.colour not in (None, thing.colour),
        "shape": wanted.shape != thing.shape,
    }
    excepted = thing.colour == wanted.but_not
    if wrong["shape"] or (wrong["size"] and wrong["colour"]):
        colour, size = (getattr(wanted, k) if wrong[k] else None for k in ("colour", "size"))
        another = " of another color" if excepted else ""
        return f"is not {ShapeGroup(1, wanted.shape, colour, size)}{another}"
    if excepted:
        return f"must not be {wanted.but_not}"
    return f"is not {wanted.size if wrong['size'] else wanted.colour}"


def in_words(thing: Thing) -> str:
    """A thing in words, without an unknown colour: "red circle", "red blob", "blob"."""
    return Fault(thing, None).named(thing).noun


def holds(
    relation: str, subject: Thing, objects: Scene, cosine: float = _COSINE, apart: float = _COSINE
) -> bool:
    """Whether `subject` is `relation` its `objects`.

    Beside one thing: the way from it points to the side, with at least this `cosine`. Between two:
    they are seen in opposite directions, with a cosine of at most -`apart`. Larger numbers ask for
    a clearer case.
    """
    if relation == BETWEEN:
        (ax, ay), (bx, by) = ((thing.x - subject.x, thing.y - subject.y) for thing in objects)
        return ax * bx + ay * by < -apart * math.hypot(ax, ay) * math.hypot(bx, by)
    dx, dy = subject.x - objects[0].x, subject.y - objects[0].y
    x, y = _DIRECTIONS[relation]
    return dx * x + dy * y > cosine * math.hypot(dx, dy)


def faults(scene: Scene, spec: Spec) -> tuple[Fault, ...]:
    """Every requirement of `spec` that `scene` does not meet, and every extra thing in it."""
    items, assigned = items_of(spec), assign(scene, spec)
    matched = [scene[index] if index is not None else None for index in assigned]
    relations = relations_of(spec)
    found = [
        Fault(thing, item)
        for thing, item in zip(matched, items, strict=True)
        if thing is not None and distance(thing, item)
    ]
    found += [Fault(thing, None) for i, thing in enumerate(scene) if i not in assigned]
    found += [
        _missing(item, number, matched, relations)
        for number, (thing, item) in enumerate(zip(matched, items, strict=True))
        if thing is None
    ]
    for relation in relations:
        # Where one of them is missing, that is a fault of its own.
        if there := _there(matched, (relation.subject, *relation.objects)):
            subject, *objects = there
            if not holds(relation.name, subject, tuple(objects)):
                wanted = items[relation.subject]
                found.append(Fault(subject, wanted, relation.name, tuple(objects)))
    return tuple(replace(fault, scene=scene) for fault in found)


def score(scene: Scene, spec: Spec) -> float:
    """Share of requirements met (0 to 1); every extra thing counts as one more, unmet."""
    met = requirements(scene, spec)
    return sum(met) / len(met)


def requirements(scene: Scene, spec: Spec) -> list[bool]:
    """Whether each thing asked for, each relation, and, never, each extra thing is as it should be.

    Where a thing is missing, its relation is unmet too.
    """
    items, assigned = items_of(spec), assign(scene, spec)
    matched = [scene[index] if index is not None else None for index in assigned]
    met = [
        thing is not None and not distance(thing, item)
        for thing, item in zip(matched, items, strict=True)
    ]
    for relation in relations_of(spec):
        there = _there(matched, (relation.subject, *relation.objects))
        met.append(bool(there) and holds(relation.name, there[0], there[1:]))
    return met + [False] * (len(scene) - sum(index is not None for index in assigned))


def items_of(spec: Spec) -> list[ShapeGroup]:
    """Every single thing that `spec` asks for, in order."""
    return [replace(group, count=1) for group in spec.groups for _ in range(group.count)]


def relations_of(spec: Spec) -> list[Relation]:
    """The relations of `spec`, with numbers of items instead of groups."""
    counts = [0, *itertools.accumulate(group.count for group in spec.groups)]
    return [
        Relation(r.name, counts[r.subject], tuple(counts[i] for i in r.objects))
        for r in spec.relations
    ]


def distance(thing: Thing, item: ShapeGroup) -> int:
    """How many of shape, colour and size are wrong: 0 to 3."""
    colour = item.colour not in (None, thing.colour) or thing.colour == item.but_not
    return (thing.shape != item.shape) + colour + (item.size not in (None, thing.size))


def assign(scene: Scene, spec: Spec) -> list[int | None]:
    """For each item the index of its thing, with the least total distance; None if none is left.

    A relation that does not hold costs half of a wrong colour. Where many things stand in relations
    and the scene is crowded, only the likeliest things are tried for each.
    """
    items = items_of(spec)
    costs = np.array([[distance(thing, item) for thing in scene] for item in items])
    relations = relations_of(spec)
    related = sorted({i for r in relations for i in (r.subject, *r.objects)})
    if len(scene) < len(related) or not related:
        return _cheapest(costs, {}) if scene and items else [None] * len(items)
    likeliest = max(2, int(_MOST_TRIED ** (1 / len(related))))
    options = itertools.product(
        *(np.argsort(costs[item], kind="stable")[:likeliest].tolist() for item in related)
    )
    fixed = [
        dict(zip(related, chosen, strict=True))
        for chosen in options
        if len(set(chosen)) == len(chosen)
    ]
    best = min(fixed, key=lambda given: _cost(costs, given, scene, relations), default={})
    return _cheapest(costs, best)


def _cost(
    costs: np.ndarray, given: dict[int, int], scene: Scene, relations: list[Relation]
) -> float:
    misplaced = sum(
        not holds(r.name, scene[given[r.subject]], tuple(scene[given[i]] for i in r.objects))
        for r in relations
    )
    own = sum(int(costs[item, thing]) for item, thing in given.items())
    rest = costs[np.ix_(*_others(costs, given))]
    if rest.size:
        own += int(rest[linear_sum_assignment(rest)].sum())
    return own + 0.5 * misplaced


def _cheapest(costs: np.ndarray, given: dict[int, int]) -> list[int | None]:
    """The cheapest assignment in which some items have their things already."""
    assigned: list[int | None] = [given.get(item) for item in range(len(costs))]
    items, things = _others(costs, given)
    if items and things:
        chosen = linear_sum_assignment(costs[np.ix_(items, things)])
        for row, column in zip(*chosen, strict=True):
            assigned[items[row]] = things[column]
    return assigned


def _others(costs: np.ndarray, given: dict[int, int]) -> tuple[list[int], list[int]]:
    """The items and the things that are not given."""
    items = [item for item in range(costs.shape[0]) if item not in given]
    return items, [t for t in range(costs.shape[1]) if t not in given.values()]


def _missing(
    item: ShapeGroup, number: int, matched: list[Thing | None], relations: list[Relation]
) -> Fault:
    """A missing thing, with where it belongs if what it belongs to is there."""
    for relation in relations:
        if number == relation.subject:
            beside = _there(matched, relation.objects)
            if beside:
                return Fault(None, item, relation.name, beside)
        if relation.objects == (number,) and (beside := _there(matched, (relation.subject,))):
            return Fault(None, item, SIDES[relation.name], beside)
    return Fault(None, item)


def _there(matched: list[Thing | None], numbers: tuple[int, ...]) -> Scene:
    """The things of these items, or none if one of them is missing."""
    things = tuple(thing for i in numbers if (thing := matched[i]) is not None)
    return things if len(things) == len(numbers) else ()
