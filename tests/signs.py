"""Signs with writing, rendered for tests and benchmarks of whoever reads pictures.

Fonts are those that matplotlib brings and the system's DejaVu; `more` names folders of others.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LEAST_CONTRAST = 100  # of 255, between ink and the mean of what it stands on
SKIPPED = (  # fonts without Latin letters
    "STIXSiz",
    "STIXNonUni",
    "cmex",
    "cmmi",
    "cmsy",
    "LastResort",
    "DejaVuMath",
    "DejaVuSansDisplay",
    "DejaVuSerifDisplay",
)
TEXTURES = ("gradient", "noise", "bricks", "wood", "clouds")

PHRASES = (
    "OPEN",
    "OPEN 24 HOURS",
    "Fresh Bread Daily",
    "NO PARKING",
    "Happy Birthday Anna",
    "COFFEE & CAKE",
    "SALE 50% OFF",
    "Welcome Home",
    "EXIT",
    "STOP",
    "Please Knock Twice",
    "Jazz Night Friday",
    "DON'T PANIC",
    "Beware of the Dog",
    "TICKETS $5.99",
    "Room 101",
    "HOTEL CALIFORNIA",
    "Farmers Market",
    "Keep Off The Grass",
    "The Old Bookshop",
    "PUSH",
    "PULL",
    "Merry Christmas",
    "CLOSED ON MONDAYS",
    "WE ARE HIRING",
    "Live Music Tonight",
    "Just Married",
    "Pizza by the Slice",
    "DANGER HIGH VOLTAGE",
    "Lemonade 25 cents",
    "QUIET ZONE",
    "Adopt, don't shop",
    "GAME OVER",
    "Level 42",
    "Mind the Gap",
    "Wet Paint!",
    "VINYL RECORDS",
    "Summer of 1969",
    "JUMP",
    "Boxing Wizards",
)


def font_files(more: Sequence[Path] = ()) -> list[Path]:
    """Font files with Latin letters, sorted by name."""
    spec = find_spec("matplotlib")
    folders = [Path("/usr/share/fonts/truetype/dejavu"), *more]
    if spec and spec.origin:
        folders.append(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf")
    files = [f for folder in folders if folder.is_dir() for f in sorted(folder.rglob("*.[to]tf"))]
    unique = {file.name: file for file in files if not file.name.startswith(SKIPPED)}
    return [unique[name] for name in sorted(unique)]


def texture(kind: str, size: tuple[int, int], seed: int) -> Image.Image:
    """A background of TEXTURES or "plain", in colours of the seed."""
    rng = np.random.default_rng(seed)
    width, height = size
    base = rng.integers(30, 226, 3).astype(float)
    other = np.clip(base + rng.integers(-60, 61, 3), 0, 255)
    y, x = np.mgrid[0:height, 0:width]
    if kind == "gradient":
        share = (x / width + y / height) / 2
    elif kind == "noise":
        share = rng.random((height, width))
    elif kind == "bricks":
        shifted = x + (y // 32 % 2) * 32
        share = ((y % 32 < 3) | (shifted % 64 < 3)).astype(float)
    elif kind == "wood":
        share = 0.5 + 0.5 * np.sin(x / 9 + 3 * np.sin(y / 60))
    elif kind == "clouds":
        small = Image.fromarray((rng.random((8, 8)) * 255).astype(np.uint8))
        share = np.asarray(small.resize(size, Image.Resampling.BICUBIC)) / 255.0
    else:
        share = np.zeros((height, width))
    pixels = base + (other - base) * share[..., None]
    return Image.fromarray(pixels.astype(np.uint8))


def ink_for(background: Image.Image, box: tuple[int, int, int, int], seed: int) -> tuple[int, ...]:
    """A colour that stands out from a place of the background."""
    red, green, blue = np.asarray(background.crop(box).convert("RGB")).reshape(-1, 3).mean(0)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    rng = random.Random(seed)
    while True:
        ink = tuple(rng.randrange(256) for _ in range(3))
        if abs(0.299 * ink[0] + 0.587 * ink[1] + 0.114 * ink[2] - light) >= LEAST_CONTRAST:
            return ink


def with_writing(
    background: Image.Image,
    text: str,
    font: Path,
    *,
    height: int = 48,
    angle: float = 0.0,
    at: tuple[float, float] = (0.5, 0.5),
    ink: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Image.Image:
    """The background with a text around the point `at` (fractions), turned by `angle` degrees.

    The letters are `height` pixels high, and smaller where they would not fit into the picture.
    """
    patch = _written(text, font, height, max_width=int(0.92 * background.width))
    patch = patch.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
    shrink = min(1.0, *(0.96 * b / p for b, p in zip(background.size, patch.size, strict=True)))
    if shrink < 1:
        patch = patch.resize(tuple(max(1, int(side * shrink)) for side in patch.size))  # pyright: ignore
    left, top = (
        min(max(0, round(share * whole - side / 2)), whole - side)
        for share, whole, side in zip(at, background.size, patch.size, strict=True)
    )
    box = (left, top, left + patch.width, top + patch.height)
    picture = background.convert("RGB")
    colour = ink or ink_for(picture, box, seed)
    picture.paste(Image.new("RGB", patch.size, colour), box[:2], patch)
    return picture


def _written(text: str, font: Path, height: int, max_width: int) -> Image.Image:
    """White letters on black, to be used as a mask; its edge is empty."""
    while True:
        face = ImageFont.truetype(str(font), height)
        measure = ImageDraw.Draw(Image.new("L", (1, 1)))
        box = measure.multiline_textbbox((0, 0), text, font=face, align="center")
        width, tall = int(box[2] - box[0]), int(box[3] - box[1])
        if width <= max_width or height <= 8:
            break
        height = max(8, int(height * max_width / width))
    mask = Image.new("L", (width + 8, tall + 8))
    ImageDraw.Draw(mask).multiline_text(
        (4 - box[0], 4 - box[1]), text, font=face, fill=255, align="center"
    )
    return mask


def broken(text: str) -> str:
    """The text on as many lines as look well."""
    words = text.split()
    middle = (len(words) + 1) // 2
    return "\n".join(filter(None, (" ".join(words[:middle]), " ".join(words[middle:]))))


def misspelt(text: str, rng: random.Random) -> tuple[str, str]:
    """The text with one fault, and what kind of fault; never one that only changes O, 0, I, l, 1,
    case, spaces, or a soft mark at the edge of a word, which count as the same."""
    kinds = ["left out", "doubled", "swapped", "replaced"]
    words = text.split()
    if len(words) > 1:
        kinds += ["word left out", "word doubled", "order"]
    while True:
        kind = rng.choice(kinds)
        changed = _changed(text, words, kind, rng)
        if _plain(changed) != _plain(text):
            return changed, kind


def _changed(text: str, words: Sequence[str], kind: str, rng: random.Random) -> str:
    n = rng.randrange(len(words))
    at = rng.choice([i for i, letter in enumerate(text) if letter.isalnum()])
    other = rng.choice("ABDEFGHKMNPRSTUWY")
    changes = {
        "word left out": " ".join((*words[:n], *words[n + 1 :])),
        "word doubled": " ".join((*words[: n + 1], *words[n:])),
        "order": " ".join((*words[1:], words[0])),
        "left out": text[:at] + text[at + 1 :],
        "doubled": text[: at + 1] + text[at:],
        "swapped": text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :],
        "replaced": text[:at] + (other if text[at].isupper() else other.lower()) + text[at + 1 :],
    }
    return changes[kind]


def _plain(text: str) -> str:
    alike = str.maketrans("oil|", "0111")
    return "".join(text.casefold().split()).translate(alike)
