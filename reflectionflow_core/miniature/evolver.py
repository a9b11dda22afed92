"""The miniature's prompt evolvers: one spells a prompt out, the other plans a whole layout.

The layout keeps what the picture already has right, so it describes the nearest right picture. It
reads pictures as exactly as the verifier, which a language model cannot: it is a control
condition, not the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..protocols import SILENT, Progress
from ..record import Request
from .detector import detect
from .judge import assign, holds, items_of
from .prompts import ShapeGroup, Spec, parse
from .world import COLOURS, SIZE, Scene, Thing

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
_SIDES = {
    "left of": ("left", "right"),
    "right of": ("right", "left"),
    "above": ("top", "bottom"),
    "below": ("bottom", "top"),
}
# Where a missing thing goes: the first free one of these, the sides before the corners.
_FREE = ("left", "right", "top", "bottom", "top left", "bottom right", "top right", "bottom left")
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def position_of(thing: Thing) -> str:
    """The ninth of the picture with the thing's centre, such as "top left" or "center"."""
    column, row = (min(2, int(3 * value / SIZE)) for value in (thing.x, thing.y))
    return tuple(POSITIONS)[3 * row + column]


def layout(scene: Scene) -> str:
    """A scene in full words: "red circle left, blue square top right"."""
    if _in_corners(scene):
        return f"{ShapeGroup(4, scene[0].shape, scene[0].colour)} in the corners"
    return ", ".join(f"{thing.colour} {thing.shape} {position_of(thing)}" for thing in scene)


def nearest(scene: Scene, spec: Spec) -> Scene:
    """A scene that shows what `spec` asks for and keeps what `scene` has right."""
    items = items_of(spec)
    assigned = [scene[index] if index is not None else None for index in assign(scene, spec)]
    if len(items) == 4 and len(set(items)) == 1:
        return tuple(_placed(items[0], None, corner) for corner in CORNERS)
    if spec.relation and not _stands(assigned, spec.relation):
        positions = _SIDES[spec.relation]
        return tuple(map(_placed, items, assigned, positions))
    taken = {position_of(thing) for thing in assigned if thing}
    free = iter([position for position in _FREE if position not in taken])
    return tuple(
        _placed(item, thing, position_of(thing) if thing else next(free))
        for item, thing in zip(items, assigned, strict=True)
    )


def spelled_out(spec: Spec) -> str:
    """Every single thing of a prompt, one by one: "red circle, red circle"."""
    items = [" ".join(filter(None, (item.colour, item.shape))) for item in items_of(spec)]
    return (f" {spec.relation} " if spec.relation else ", ").join(items)


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
            layout(nearest(detect(request.required_parent.image), spec)) for request in requests
        ]


def _placed(item: ShapeGroup, thing: Thing | None, position: str) -> Thing:
    x, y = POSITIONS[position]
    seen = thing.colour if thing and thing.colour in COLOURS else None
    colour = item.colour or seen or next(iter(COLOURS))
    if thing and position_of(thing) == position:
        return replace(thing, shape=item.shape, colour=colour)
    return Thing(item.shape, colour, x, y, 9.0)


def _stands(assigned: Sequence[Thing | None], relation: str) -> bool:
    first, second = assigned
    return first is not None and second is not None and holds(relation, first, second)


def _in_corners(scene: Scene) -> bool:
    same = len({(thing.shape, thing.colour) for thing in scene}) == 1
    return len(scene) == 4 and same and {position_of(thing) for thing in scene} == set(CORNERS)
