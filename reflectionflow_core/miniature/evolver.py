"""The miniature's prompt evolvers: one spells a prompt out, the other plans a whole layout.

The layout keeps what the picture already has right, so it describes the nearest right picture. It
reads pictures as exactly as the verifier, which a language model cannot: it is a control
condition, not the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..protocols import SILENT, Progress
from ..record import Request
from .detector import detect
from .judge import assign, holds, items_of, relations_of
from .prompts import BETWEEN, SIDES, Relation, ShapeGroup, Spec, parse
from .world import COLOURS, RADIUS, SIZE, SIZES, Scene, Thing

_ROWS = ("top", "", "bottom")
_COLUMNS = ("left", "", "right")
POSITIONS = {
    " ".join(filter(None, (row, column))) or "center": (
        SIZE * (x + 0.5) / 3,
        SIZE * (y + 0.5) / 3,
    )
    for y, row in enumerate(_ROWS)
    for x, column in enumerate(_COLUMNS)
}
# Where a missing thing goes: the first that fits, the sides before the corners.
_FREE = ("left", "right", "top", "bottom", "top left", "bottom right", "top right", "bottom left")
_SIDES = {
    "left of": "left",
    "right of": "right",
    "above": "top",
    "below": "bottom",
    BETWEEN: "center",
}
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def position_of(thing: Thing) -> str:
    """The ninth of the picture with the thing's centre, such as "top left" or "center"."""
    column, row = (min(2, int(3 * value / SIZE)) for value in (thing.x, thing.y))
    return tuple(POSITIONS)[3 * row + column]


def layout(scene: Scene, sized: bool = False) -> str:
    """A scene in full words: "red circle left, blue square top right"; with sizes if `sized`."""
    kinds = [ShapeGroup(1, t.shape, t.colour, t.size if sized else None) for t in scene]
    places = list(map(position_of, scene))
    if len(scene) == 4 and len(set(kinds)) == 1 and set(places) == set(CORNERS):
        return f"{replace(kinds[0], count=4)} in the corners"
    return ", ".join(f"{kind.noun} {place}" for kind, place in zip(kinds, places, strict=True))


def nearest(scene: Scene, spec: Spec) -> Scene:
    """A scene that shows what `spec` asks for and keeps what `scene` has right."""
    items, relations = items_of(spec), relations_of(spec)
    assigned = [scene[index] if index is not None else None for index in assign(scene, spec)]
    if len(items) == 4 and len(set(items)) == 1:
        options = [[corner] for corner in CORNERS]
    else:
        options = [_options(thing, _wished(i, relations)) for i, thing in enumerate(assigned)]
    wished = list(zip(items, assigned, options, strict=True))
    placed = _place(wished, relations, ())
    if placed is None:  # things that keep their places may leave no room for a relation
        anywhere: list[Wish] = [
            (item, None, _options(None, _wished(i, relations))) for i, item in enumerate(items)
        ]
        placed = _place(anywhere, relations, ())
    return placed or ()


def is_sized(spec: Spec) -> bool:
    """Whether `spec` asks for a size."""
    return any(group.size for group in spec.groups)


def spelled_out(spec: Spec) -> str:
    """Every single thing of a prompt, one by one: "red circle, red circle"."""
    return ", ".join(spec.phrases(_one_by_one))


def _one_by_one(group: ShapeGroup) -> str:
    exception = [f"none {group.but_not}"] if group.but_not else []
    return ", ".join([group.noun] * group.count + exception)


class RuleEvolver:
    """Spells a miniature prompt out, thing by thing, whatever the picture shows."""

    calls = 0

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        """The same text for every request; InputError where the prompt is not the miniature's."""
        del progress  # takes a millisecond
        return [spelled_out(parse(prompt))] * len(requests)


class LayoutEvolver:
    """Rewrites a miniature prompt as the layout of the nearest right picture."""

    calls = 0

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        """One layout a request; InputError where the prompt is not the miniature's."""
        del progress  # takes a millisecond a picture
        spec = parse(prompt)
        return [
            layout(nearest(detect(request.required_parent.image), spec), is_sized(spec))
            for request in requests
        ]


Wish = tuple[ShapeGroup, Thing | None, list[str]]


def _wished(number: int, relations: list[Relation]) -> list[str]:
    """Where an item's relations would have it."""
    wished = [_SIDES[r.name] for r in relations if r.subject == number]
    reached = (r for r in relations if r.objects == (number,))
    wished += [_SIDES[SIDES[r.name]] for r in reached if r.name in SIDES]
    return wished


def _options(thing: Thing | None, wished: list[str]) -> list[str]:
    """The ninths of the picture that a thing may get, the best first: its own, if it is there."""
    own = [position_of(thing)] if thing else []
    return list(dict.fromkeys((*own, *wished, *_FREE, "center")))


def _place(wished: list[Wish], relations: list[Relation], placed: Scene) -> Scene | None:
    """The first places, one a ninth, in which every relation holds; None if there are none."""
    if len(placed) == len(wished):
        return placed
    item, thing, options = wished[len(placed)]
    taken = set(map(position_of, placed))
    for position in options:
        scene = (*placed, _placed(item, thing, position))
        if position in taken or not all(_may_hold(relation, scene) for relation in relations):
            continue
        if (found := _place(wished, relations, scene)) is not None:
            return found
    return None


def _may_hold(relation: Relation, scene: Scene) -> bool:
    if max(relation.subject, *relation.objects) >= len(scene):
        return True  # not all of it is placed yet
    subject, *objects = (scene[i] for i in (relation.subject, *relation.objects))
    told, *others = map(as_told, (subject, *objects))
    # The words must say the relation, too.
    seen = holds(relation.name, subject, tuple(objects))
    return seen and holds(relation.name, told, tuple(others))


def as_told(thing: Thing) -> Thing:
    """The thing in the middle of its ninth of the picture: a layout says no more of its place."""
    x, y = POSITIONS[position_of(thing)]
    return replace(thing, x=x, y=y)


def _placed(item: ShapeGroup, thing: Thing | None, position: str) -> Thing:
    x, y = POSITIONS[position]
    seen = thing.colour if thing and thing.colour in COLOURS else None
    free = (colour for colour in (seen, *COLOURS) if colour not in (None, item.but_not))
    colour = item.colour or next(free)
    if thing is None or item.size not in (None, thing.size):
        thing = Thing(
            item.shape, colour, x, y, float(np.mean(SIZES[item.size] if item.size else RADIUS))
        )
    if position_of(thing) == position:
        return replace(thing, shape=item.shape, colour=colour)
    return replace(thing, shape=item.shape, colour=colour, x=x, y=y)
