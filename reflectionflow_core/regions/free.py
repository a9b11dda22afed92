"""A free place for a thing that is missing: the largest rectangle that no other thing is in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from ..evidence import DIGITS, Box

LEAST = 0.15  # of the picture's width and of its height; a smaller place holds nothing
# Which edge of the anchor bounds the place, by the words of a fault: (axis, side that is kept).
SIDES = {
    " left of ": (0, "before"),
    " right of ": (0, "after"),
    " above ": (1, "before"),
    " below ": (1, "after"),
}


def free_place(taken: Sequence[Box], fault: str, anchors: Sequence[Box] = ()) -> Box | None:
    """The largest rectangle between `taken` boxes, on the side of the `anchors` that the fault
    names, if it names one; None if there is no room."""
    left, top, right, bottom = _bounds(fault, anchors)
    places = [
        box
        for box in _rectangles(taken, (left, top, right, bottom))
        if box[2] - box[0] >= LEAST and box[3] - box[1] >= LEAST
    ]
    return max(places, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]), default=None)


def _bounds(fault: str, anchors: Sequence[Box]) -> Box:
    """The part of the picture that a fault's words leave: all of it, or one side of the anchor."""
    bounds = [0.0, 0.0, 1.0, 1.0]
    for words, (axis, side) in SIDES.items():
        if words in fault and anchors:
            middle = sum(box[axis] + box[axis + 2] for box in anchors) / (2 * len(anchors))
            bounds[axis + 2 if side == "before" else axis] = round(middle, DIGITS)
    return bounds[0], bounds[1], bounds[2], bounds[3]


def _rectangles(taken: Sequence[Box], bounds: Box) -> Iterator[Box]:
    """The highest rectangles between left and right edges of boxes, within bounds, that no box
    reaches into."""
    _, top, _, bottom = bounds
    downwards = sorted(taken, key=lambda box: box[1])
    for left, right in combinations(_columns(taken, bounds), 2):
        low = top  # down to where this column is taken
        for box in downwards:
            if box[0] < right and left < box[2]:
                if low < min(box[1], bottom):
                    yield left, low, right, min(box[1], bottom)
                low = max(low, box[3])
        if low < bottom:
            yield left, low, right, bottom


def _columns(taken: Sequence[Box], bounds: Box) -> list[float]:
    """Where a rectangle may begin or end from left to right, in order."""
    low, high = bounds[0], bounds[2]
    edges = (edge for box in taken for edge in (box[0], box[2]))
    return sorted({low, high, *(min(max(edge, low), high) for edge in edges)})
