"""The boxes of a verdict, as drawn on pages and contact sheets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..evidence import Box, place_in_words, sure_in_words
from ..record import Candidate

# Colour and meaning of each kind of box.
BOXES = {
    "fault": ("red", "what is wrong"),
    "seen": ("green", "what is right"),
    "changed": ("blue", "where it could change"),
}


@dataclass(frozen=True, slots=True)
class BoxMark:
    """A box on a picture, in fractions of its width and height.

    `kind` is "fault", "seen" (correct) or "changed" (where a correction could change its parent).
    `words` names the content, such as "extra dog, at the left, 93 % sure".
    """

    box: Box
    kind: str
    words: str


def marked(candidate: Candidate) -> Iterator[BoxMark]:
    """The boxes on a picture: changed regions, correct objects, and faults on top."""
    verdict = candidate.verdict
    for box in candidate.region.boxes if candidate.region else ():
        words = filter(None, ("changed", place_in_words(box)))
        yield BoxMark(box, "changed", ", ".join(words))
    placed = [seen for seen in verdict.evidence if seen.box is not None]
    for seen in sorted(placed, key=lambda seen: seen.text in verdict.unmet):
        if seen.box is not None:
            sure = "" if seen.sureness is None else sure_in_words(seen.sureness)
            place = place_in_words(seen.box)
            words = filter(None, (seen.text, "" if place in seen.text else place, sure))
            kind = "fault" if seen.text in verdict.unmet else "seen"
            yield BoxMark(seen.box, kind, ", ".join(words))
