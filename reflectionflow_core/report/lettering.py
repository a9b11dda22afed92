"""Text in pictures: fonts with the needed characters, and lines that fit a width.

Pillow's own font has little beyond English, so common system fonts are tried. A character that no
font has loses its accent or is shown as a box.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "NotoEmoji-Regular.ttf",
)
UNKNOWN = "\U0010ffff"  # not in any font; shows a font's box for unknown characters
PLAIN = str.maketrans(
    {"\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}
)
MAX_CHARACTERS = 2000  # lines of one text


@lru_cache(maxsize=64)
def fonts(size: int) -> tuple[FreeTypeFont, ...]:
    """Pillow's own font and the installed system fonts."""
    own = ImageFont.load_default(size)
    assert isinstance(own, FreeTypeFont), "Pillow is built without FreeType"
    return (own, *_system_fonts(size))


def _system_fonts(size: int) -> Iterator[FreeTypeFont]:
    for name in SYSTEM_FONTS:
        try:
            yield ImageFont.truetype(name, size)
        except OSError:  # not installed
            continue


@lru_cache(maxsize=10_000)
def knows(index: int, character: str) -> bool:
    """Whether the font with this index has the character, instead of drawing a box."""
    return _drawn(index, character) != _drawn(index, UNKNOWN)


def _drawn(index: int, character: str) -> bytes:
    image = Image.new("1", (32, 32))
    ImageDraw.Draw(image).text((4, 4), character, 1, fonts(16)[index])
    return image.tobytes()


def lettered(text: str, size: int) -> tuple[str, FreeTypeFont]:
    """The text as one line without control characters, and the font that covers most of it."""
    text = " ".join(text[:MAX_CHARACTERS].encode("utf-8", "replace").decode().split())
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    known = [sum(knows(i, c) for c in text) for i in range(len(fonts(16)))]
    best = max(range(len(known)), key=lambda i: known[i])
    if known[best] < len(text):
        text = "".join(c if knows(best, c) else _plainer(c, best) for c in text)
    return text, fonts(size)[best]


def _plainer(character: str, index: int) -> str:
    base = unicodedata.normalize("NFKD", character.translate(PLAIN))[:1]
    return base if base and knows(index, base) else character


def wrapped(text: str, size: int, width: float, most: int) -> tuple[list[str], FreeTypeFont]:
    """At most `most` lines of at most `width` pixels; cut text ends in an ellipsis."""
    text, font = lettered(text, size)
    lines = list(_lines(text, font, width))
    if len(lines) > most:
        lines[most - 1 :] = [_shortened(lines[most - 1], font, width)]
    return lines, font


def _lines(text: str, font: FreeTypeFont, width: float) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        *whole, line = _pieces(word, font, width)
        yield from whole
    if line:
        yield line


def _pieces(word: str, font: FreeTypeFont, width: float) -> Iterator[str]:
    """A word wider than a line, or text without spaces, cut to fit.

    File names and addresses are cut after punctuation if possible.
    """
    piece = ""
    for character in word:
        if piece and font.getlength(piece + character) > width:
            end = max(map(piece.rfind, "_-./")) + 1 or len(piece)
            yield piece[:end]
            piece = piece[end:]
        piece += character
    yield piece


def _shortened(line: str, font: FreeTypeFont, width: float) -> str:
    while line and font.getlength(f"{line}...") > width:
        line = line.rpartition(" ")[0] or line[:-1]
    return f"{line.rstrip(' ,;.')}..."
