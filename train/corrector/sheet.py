"""The contact sheet of a validation: texts, flawed, corrected and target picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from PIL.Image import Image as Picture

from reflectionflow_core.report.lettering import lettered, wrapped

TITLES = ("flawed", "corrected", "target")
GAP, MARGIN = 8, 16  # pixels
SIDE = 256, 512  # smallest and largest longer side of a shown picture
TEXT, LINE, LINES = 15, 20, 3  # lines of text: font size, line height, largest number
INK, MUTED = "#1a1a1a", "#6b6b6b"


@dataclass(frozen=True, slots=True, eq=False)
class SheetRow:
    """One correction; `pictures` are in the order of TITLES."""

    pictures: tuple[Picture, Picture, Picture]
    prompt: str
    reflection: str


def sheet(rows: Sequence[SheetRow], title: str) -> bytes:
    """A PNG with the title and one row per correction: its texts and its pictures side by side."""
    sizes = [_shown(row.pictures[-1].size) for row in rows]
    width = max(size[0] for size in sizes)
    across = 3 * width + 2 * GAP
    texts = [_texts(row, across) for row in rows]
    heights = [
        len(lines) * LINE + height + 3 * GAP
        for lines, (_, height) in zip(texts, sizes, strict=True)
    ]
    page = Image.new("RGB", (across + 2 * MARGIN, sum(heights) + 2 * MARGIN + 3 * LINE), "white")
    draw = ImageDraw.Draw(page)
    _write(draw, (MARGIN, MARGIN), title, INK)
    for column, name in enumerate(TITLES):
        _write(draw, (MARGIN + column * (width + GAP), MARGIN + 2 * LINE), name, MUTED)
    top = MARGIN + 3 * LINE
    for row, size, lines, taken in zip(rows, sizes, texts, heights, strict=True):
        for number, (line, colour) in enumerate(lines):
            _write(draw, (MARGIN, top + GAP + number * LINE), line, colour)
        below = top + len(lines) * LINE + 2 * GAP
        for column, picture in enumerate(row.pictures):
            box = (MARGIN + column * (width + GAP), below)
            page.paste(_scaled(picture, size), box)
        top += taken
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def _shown(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture is shown; small ones are enlarged by whole factors."""
    least, most = SIDE
    longer = max(size)
    scale = min(1.0, most / longer) if longer >= least else -(-least // longer)
    return round(size[0] * scale), round(size[1] * scale)


def _scaled(picture: Picture, size: tuple[int, int]) -> Picture:
    small = picture.width < size[0]
    return picture.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)


def _texts(row: SheetRow, width: int) -> list[tuple[str, str]]:
    """Lines and their colours."""
    found: list[tuple[str, str]] = []
    for text, colour in ((row.prompt, INK), (f"Reflection: {row.reflection}", MUTED)):
        lines, _ = wrapped(text, TEXT, width, LINES)
        found += [(line, colour) for line in lines]
    return found


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: str) -> None:
    line, font = lettered(text, TEXT)
    draw.text(place, line, colour, font)
