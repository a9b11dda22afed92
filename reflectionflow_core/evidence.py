"""Where a verifier sees a fault or something right, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # left, top, right, bottom as fractions of width and height

DIGITS = 4  # of a fraction; a ten-thousandth is less than a pixel of every picture up to 10,000
WHOLE = 2 / 3  # a box of at least this width and height has no place to name
THIRDS = (1 / 3, 2 / 3)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a verifier sees one thing that it reports.

    `text` is an entry of `Verdict.unmet`, word for word, or names something that is right, such as
    "cat". `box` is left, top, right, bottom as fractions (0 to 1) of the picture's width and
    height; None without a place, as for a missing thing. `sureness` is 0 to 1, None if unknown. A
    fault in several places has several records. Raises ValueError for a box that is empty or
    outside the picture, and for a sureness outside 0 to 1.
    """

    text: str
    box: Box | None = None
    sureness: float | None = None

    def __post_init__(self) -> None:
        if self.box is not None:
            left, top, right, bottom = self.box
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError(f"A box must be fractions with left < right, got {self.box}.")
        if self.sureness is not None and not 0 <= self.sureness <= 1:
            raise ValueError(f"A sureness must be between 0 and 1, got {self.sureness}.")

    @classmethod
    def in_pixels(
        cls,
        text: str,
        box: Sequence[float],
        size: tuple[int, int],
        sureness: float | None = None,
    ) -> Evidence:
        """Evidence from a box in pixels of a picture of `size` (width, height).

        The box is clipped to the picture; an empty one becomes the nearest pixel. Raises ValueError
        for numbers that are not finite.
        """
        left, right = _side(box[0], box[2], size[0])
        top, bottom = _side(box[1], box[3], size[1])
        sure = None if sureness is None else round(min(max(float(sureness), 0.0), 1.0), DIGITS)
        return cls(text, (left, top, right, bottom), sure)

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
        """The box in pixels for a picture of `size`, at least one pixel; None without a box."""
        if self.box is None:
            return None
        left, top, right, bottom = self.box
        x, y = (min(int(a * n + 0.5), n - 1) for a, n in zip((left, top), size, strict=True))
        return x, y, max(x + 1, int(right * size[0] + 0.5)), max(y + 1, int(bottom * size[1] + 0.5))


def _side(low: float, high: float, length: int) -> tuple[float, float]:
    """Both ends of one side of a box as fractions, at least a pixel apart."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"A box must consist of finite numbers, got {low} and {high}.")
    least = min(1.0, max(1 / length, 10**-DIGITS))
    start = min(max(min(low, high) / length, 0.0), 1 - least)
    end = min(max(max(low, high) / length, start + least), 1.0)
    start, end = round(start, DIGITS), round(end, DIGITS)
    return (start, end) if start < end else (0.0, 1.0)


def places_of(text: str, evidence: Sequence[Evidence]) -> list[Box]:
    """The boxes of one entry of `Verdict.unmet`; [] if it has none."""
    return [seen.box for seen in evidence if seen.text == text and seen.box is not None]


def place_in_words(box: Box) -> str:
    """Where a box is: "at the top left", "in the middle"; "" for one that fills the picture."""
    if box[2] - box[0] >= WHOLE and box[3] - box[1] >= WHOLE:
        return ""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    column = ("left", "", "right")[sum(x > third for third in THIRDS)]
    row = ("top", "", "bottom")[sum(y > third for third in THIRDS)]
    where = " ".join(filter(None, (row, column)))
    return f"at the {where}" if where else "in the middle"


def sure_in_words(sureness: float) -> str:
    """0.93 as "93 % sure"."""
    return f"{100 * sureness:.0f} % sure"


def located(text: str, evidence: Sequence[Evidence]) -> str:
    """A fault with its places: "extra dog (at the left, box 0.02, 0.4, 0.31, 0.9, 93 % sure)"."""
    notes = [_note(seen) for seen in evidence if seen.text == text]
    joined = "; ".join(filter(None, notes))
    return f"{text} ({joined})" if joined else text


def _note(seen: Evidence) -> str:
    parts = []
    if seen.box is not None:
        numbers = ", ".join(f"{edge:.2f}" for edge in seen.box)
        parts += [place_in_words(seen.box), f"box {numbers}"]
    if seen.sureness is not None:
        parts.append(sure_in_words(seen.sureness))
    return ", ".join(filter(None, parts))
