"""The miniature's prompt evolvers: one spells a prompt out, the other plans a whole layout.

The layout keeps what the picture already has right, so it asks for the nearest right picture. It
sees as sharply as the exact verifier does: no language model could, so it is a control, not the
default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..protocols import SILENT, Progress
from ..record import Candidate
from .detector import detect
from .judge import assign, holds, items_of
from .prompts import ShapeGroup, Spec, parse
from .world import COLOURS, SIZE, Scene, Thing

_ROWS = ("top", "", "bottom")
_COLUMNS = ("left", "", "right")
PLACES = {
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
# The order in which a missing thing looks for a free place: first the middles, then the corners.
_FREE = ("left", "right", "top", "bottom", "top left", "bottom right", "top right", "bottom left")
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def place_of(thing: Thing) -> str:
    """The ninth of the picture that a thing's centre lies in, such as "top left" or "center"."""
    column, row = (min(2, int(3 * value / SIZE)) for value in (thing.x, thing.y))
    return tuple(PLACES)[3 * row + column]


def layout(scene: Scene) -> str:
    """A scene in full words: "red circle left, blue square top right"."""
    if _in_corners(scene):
        return f"{ShapeGroup(4, scene[0].shape, scene[0].colour)} in the corners"
    return ", ".join(f"{thing.colour} {thing.shape} {place_of(thing)}" for thing in scene)


def nearest(scene: Scene, spec: Spec) -> Scene:
    """A scene that shows what `spec` asks and keeps what `scene` has right."""
    items = items_of(spec)
    seats = [scene[seat] if seat is not None else None for seat in assign(scene, spec)]
    if len(items) == 4 and len(set(items)) == 1:
        return tuple(_put(items[0], None, corner) for corner in CORNERS)
    if spec.relation and not _stand(seats, spec.relation):
        places = _SIDES[spec.relation]
        return tuple(map(_put, items, seats, places))
    taken = {place_of(thing) for thing in seats if thing}
    free = iter([place for place in _FREE if place not in taken])
    return tuple(
        _put(item, thing, place_of(thing) if thing else next(free))
        for item, thing in zip(items, seats, strict=True)
    )


def spelled_out(spec: Spec) -> str:
    """Every single thing of a prompt, without the grammar around it: "red circle, red circle"."""
    items = [" ".join(filter(None, (item.colour, item.shape))) for item in items_of(spec)]
    return (f" {spec.relation} " if spec.relation else ", ").join(items)


class RuleEvolver:
    """Spells a miniature prompt out, thing by thing; what the picture shows does not matter."""

    calls = 0

    def evolve(
        self, prompt: str, candidates: Sequence[Candidate], progress: Progress = SILENT
    ) -> list[str]:
        """The same text for every candidate; InputError where the prompt is not the miniature's."""
        del progress  # takes a millisecond
        return [spelled_out(parse(prompt))] * len(candidates)


class LayoutEvolver:
    """Rewrites a miniature prompt as the layout of the nearest right picture."""

    calls = 0

    def evolve(
        self, prompt: str, candidates: Sequence[Candidate], progress: Progress = SILENT
    ) -> list[str]:
        """One layout a candidate; InputError where the prompt is not the miniature's."""
        del progress  # takes a millisecond a picture
        spec = parse(prompt)
        return [layout(nearest(detect(candidate.image), spec)) for candidate in candidates]


def _put(item: ShapeGroup, thing: Thing | None, place: str) -> Thing:
    x, y = PLACES[place]
    seen = thing.colour if thing and thing.colour in COLOURS else None
    colour = item.colour or seen or next(iter(COLOURS))
    if thing and place_of(thing) == place:
        return replace(thing, shape=item.shape, colour=colour)
    return Thing(item.shape, colour, x, y, 9.0)


def _stand(seats: Sequence[Thing | None], relation: str) -> bool:
    first, second = seats
    return first is not None and second is not None and holds(relation, first, second)


def _in_corners(scene: Scene) -> bool:
    same = len({(thing.shape, thing.colour) for thing in scene}) == 1
    return len(scene) == 4 and same and {place_of(thing) for thing in scene} == set(CORNERS)
