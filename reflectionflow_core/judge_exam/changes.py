"""Changes of a picture that make a statement about it false; pixels only.

Boxes are fractions (0 to 1) of width and height.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from ..evidence import Box, Evidence
from ..pictures import to_rgb

GROWN = 0.06  # of a box's sides, on each side: outlines and shadows go as well
STRIP = 3  # pixels beside a gap that are averaged to fill it
FRAME = 0.06  # of the shorter side, around a picture that is asked about again
HUES = 256  # of Pillow's HSV


def mirrored(image: Image.Image) -> Image.Image:
    """Left and right exchanged."""
    return ImageOps.mirror(to_rgb(image))


def hue_turned(image: Image.Image, turn: float) -> Image.Image:
    """All hues shifted by `turn` (0 to 1, a share of the colour circle); greys stay."""
    hsv = np.array(to_rgb(image).convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(int) + round(turn * HUES)) % HUES
    return Image.fromarray(hsv, "HSV").convert("RGB")


def erased(image: Image.Image, box: Box) -> Image.Image:
    """The content of the box and its margin, filled in from the surroundings.

    Every pixel becomes the mean of the pixels beside the gap in its row and column, nearer ones
    weighted more. Raises ValueError if nothing surrounds the box.
    """
    pixels = np.array(to_rgb(image), np.float32)
    left, top, right, bottom = in_pixels(grown(box), image.size)
    height, width = pixels.shape[:2]
    rows, columns = np.arange(top, bottom)[:, None, None], np.arange(left, right)[None, :, None]
    total = np.zeros((bottom - top, right - left, 3), np.float32)
    weight = np.zeros((bottom - top, right - left, 1), np.float32)
    sides = (
        (pixels[top:bottom, max(left - STRIP, 0) : left].mean(1)[:, None], columns - left + 1)
        if left
        else None,
        (pixels[top:bottom, right : right + STRIP].mean(1)[:, None], right - columns)
        if right < width
        else None,
        (pixels[max(top - STRIP, 0) : top, left:right].mean(0)[None], rows - top + 1)
        if top
        else None,
        (pixels[bottom : bottom + STRIP, left:right].mean(0)[None], bottom - rows)
        if bottom < height
        else None,
    )
    for strip, distance in filter(None, sides):
        total += strip / distance
        weight += 1 / distance.astype(np.float32)
    if not weight.any():
        raise ValueError("A box that fills the picture cannot be erased.")
    pixels[top:bottom, left:right] = total / weight
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def doubled(image: Image.Image, box: Box, place: Box) -> Image.Image:
    """The content of the box copied to `place`, a box of the same size."""
    picture = to_rgb(image)
    source = in_pixels(box, picture.size)
    left, top, *_ = in_pixels(place, picture.size)
    picture.paste(picture.crop(source), (left, top))
    return picture


def reframed(image: Image.Image) -> Image.Image:
    """The whole picture in a plain frame, so that everything has another size and position."""
    picture = to_rgb(image)
    frame = max(1, round(FRAME * min(picture.size)))
    edge = np.array(picture)
    around = np.concatenate([edge[0], edge[-1], edge[:, 0], edge[:, -1]]).mean(0)
    return ImageOps.expand(picture, frame, tuple(round(float(value)) for value in around))


def grown(box: Box) -> Box:
    """A box with GROWN around it, within the picture."""
    across, down = GROWN * (box[2] - box[0]), GROWN * (box[3] - box[1])
    left, top = max(0.0, box[0] - across), max(0.0, box[1] - down)
    return left, top, min(1.0, box[2] + across), min(1.0, box[3] + down)


def in_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box in whole pixels of a picture of `size` (width, height)."""
    found = Evidence("", box).pixels(size)
    assert found is not None
    return found
