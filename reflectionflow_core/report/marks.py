"""The boxes that a verifier gives, as page and contact sheet draw them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..evidence import Box, place_in_words, sure_in_words
from ..record import Verdict


@dataclass(frozen=True, slots=True)
class BoxMark:
    """One box on a picture, fractions of its width and height; `fault` is False for what is right.

    `words` is what is seen there, such as "extra dog, at the left, 93 % sure".
    """

    box: Box
    fault: bool
    words: str


def marked(verdict: Verdict) -> Iterator[BoxMark]:
    """The boxes of a verdict: first what is right, then the faults, which are drawn on top."""
    placed = [seen for seen in verdict.evidence if seen.box is not None]
    for seen in sorted(placed, key=lambda seen: seen.text in verdict.unmet):
        if seen.box is not None:
            sure = "" if seen.sureness is None else sure_in_words(seen.sureness)
            words = filter(None, (seen.text, place_in_words(seen.box), sure))
            yield BoxMark(seen.box, seen.text in verdict.unmet, ", ".join(words))
