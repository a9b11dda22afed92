"""The regions of a correction: of the faults of a verdict, or drawn by the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..evidence import WHOLE, Box, places_of
from ..verdict import Verdict
from .free import free_place

WAYS = ("whole", "auto", "regions")  # to correct a picture
# A fault about where a thing is: it has to leave its place, so its box alone is none.
POSITIONS = (" is not left of ", " is not right of ", " is not above ", " is not below ")
MISSING = "missing "


@dataclass(frozen=True, slots=True)
class Region:
    """Where a correction may change its parent: inside `boxes`, and where `mask` is not black.

    `mask` is a picture drawn by the user (`masks.mask_text`), of any size: the mask of the search's
    settings, or one that was `said` between two rounds. Raises ValueError for a region without box
    and mask.
    """

    boxes: tuple[Box, ...] = ()
    mask: str | None = None
    said: bool = False

    def __post_init__(self) -> None:
        if not self.boxes and self.mask is None:
            raise ValueError("A region needs a box or a mask.")


def region_of(verdict: Verdict, way: str, mask: str | None = None) -> Region | None:
    """Where a picture with this verdict is corrected; None is everywhere.

    A user's `mask` takes precedence. "whole" is everywhere. "auto" uses the faults' boxes if every
    fault has one, "regions" if any has: faults without one wait for a later round. A missing thing
    gets a free place, if the verdict says where other things are.
    """
    if mask is not None:
        return Region(mask=mask)
    if way == "whole":
        return None
    boxes = [fault_places(fault, verdict) for fault in dict.fromkeys(verdict.unmet)]
    if not any(boxes) or (way == "auto" and not all(boxes)):
        return None
    found = tuple(dict.fromkeys(box for some in boxes for box in some))
    return None if any(map(fills_picture, found)) else Region(found)


def fault_places(fault: str, verdict: Verdict) -> list[Box]:
    """The boxes in which one fault can be fixed; [] if that may be anywhere."""
    placed = places_of(fault, verdict.evidence)
    moved = any(words in fault for words in POSITIONS)
    if placed and not moved:
        return placed
    if not moved and not fault.startswith(MISSING):
        return []
    taken = [seen.box for seen in verdict.evidence if seen.box is not None]
    if not taken:
        return []
    others = [box for box in taken if box not in placed] if moved else taken
    anchors = _named_after(fault, verdict)
    free = free_place(others, fault, anchors)
    return [*placed, free] if free else []


def _named_after(fault: str, verdict: Verdict) -> Sequence[Box]:
    """The boxes of what a fault names at its end: "missing a cup left of the dog" names a dog."""
    return [
        seen.box
        for seen in verdict.evidence
        if seen.box is not None
        and seen.text != fault
        and seen.text.split()[-1:] == fault.split()[-1:]
    ]


def fills_picture(box: Box) -> bool:
    return box[2] - box[0] >= WHOLE and box[3] - box[1] >= WHOLE
