"""A free place for a thing that is missing: the largest rectangle that no other thing is in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

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
    """Every rectangle between edges of boxes, within bounds, that no box reaches into."""
    xs, ys = (_edges(taken, bounds, axis) for axis in (0, 1))
    for (left, right), (top, bottom) in product(combinations(xs, 2), combinations(ys, 2)):
        if not any(b[0] < right and left < b[2] and b[1] < bottom and top < b[3] for b in taken):
            yield left, top, right, bottom


def _edges(taken: Sequence[Box], bounds: Box, axis: int) -> list[float]:
    """Where a rectangle may begin or end along an axis, in order."""
    low, high = bounds[axis], bounds[axis + 2]
    edges = (edge for box in taken for edge in (box[axis], box[axis + 2]))
    return sorted({low, high, *(min(max(edge, low), high) for edge in edges)})
