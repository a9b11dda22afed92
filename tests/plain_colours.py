"""The colours of plain pictures in a request, for scripted servers that are to see them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence

from PIL import Image

NAMES = {
    "red": (210, 30, 30),
    "blue": (30, 50, 210),
    "green": (30, 150, 60),
    "yellow": (240, 215, 30),
}
MARK = "filled with one plain colour"  # in every question about them


def colour_of(url: str) -> str:
    """The name of the nearest colour to the first pixel of a picture in a data URL."""
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    pixel = picture.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return min(
        NAMES, key=lambda name: sum((a - b) ** 2 for a, b in zip(NAMES[name], pixel, strict=True))
    )


def colours_of(urls: Sequence[str]) -> str:
    return ", ".join(map(colour_of, urls))


def is_of_the_check(text: str) -> bool:
    """Whether a question is one that a judge is asked before a search."""
    return MARK in text or "Answer with the word yes alone." in text


def seen(text: str, urls: Sequence[str], in_schema: bool) -> str:
    """What a model that sees says to such a question."""
    if not urls:
        return "yes"
    return json.dumps({"colour": colours_of(urls)}) if in_schema else colours_of(urls)
