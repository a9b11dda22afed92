"""Reads a picture of the shapes world back into things, by rules instead of a model.

A component that fits no shape or has no clear colour is a "blob": a thing that no prompt asks for.
"""

from __future__ import annotations

import numpy as np
from PIL.Image import Image
from scipy import ndimage

from ..pictures import to_rgb
from .world import (
    COLOURS,
    CROSS_BAR,
    EXTENT,
    GROUND,
    SHAPES,
    SIZE,
    Scene,
    Thing,
    coverage,
)

BLOB = "blob"
PixelBox = tuple[int, int, int, int]  # left, top, right, bottom
_PALETTE = np.array(list(COLOURS.values()), np.float32)
_NAMES = tuple(COLOURS)
_FARTHEST = float(np.linalg.norm([255.0] * 3))  # black to white
_GROUND = np.array(GROUND, np.float32)
_FOREGROUND = 60.0  # RGB distance from the ground that makes a pixel part of a thing
_MIN_AREA = 24  # pixels; the smallest thing of the world covers about 50
# A shape's area in squared radii, and how far below its box's centre its centre of gravity lies.
_AREA_AND_FALL = {
    "circle": (np.pi, 0.0),
    "square": (4 * EXTENT["square"][0] * EXTENT["square"][1], 0.0),
    "triangle": (2 * EXTENT["triangle"][0] * EXTENT["triangle"][1], EXTENT["triangle"][1] / 3),
    "cross": (4 * CROSS_BAR * (2 * EXTENT["cross"][0] - CROSS_BAR), 0.0),
}
_MIN_FIT = 0.72  # intersection over union with the best shape
_MIN_MARGIN = 0.04  # by which the best shape must beat the next
_MIN_PURITY = 0.75  # share of a thing's pixels that agree on its colour


def detect(picture: Image | np.ndarray) -> Scene:
    """The things in a picture, in reading order; lengths in pixels of a 64x64 picture."""
    return tuple(detect_boxes(picture))


def detect_boxes(picture: Image | np.ndarray) -> dict[Thing, PixelBox]:
    """The things in a picture, in reading order, with their boxes in pixels of a 64x64 picture."""
    pixels = _as_pixels(picture)
    foreground = np.linalg.norm(pixels - _GROUND, axis=-1) > _FOREGROUND
    labels = np.empty(foreground.shape, np.int32)
    ndimage.label(foreground, structure=np.ones((3, 3)), output=labels)
    things: dict[Thing, PixelBox] = {}
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[box] == index
        if mask.sum() >= _MIN_AREA:
            rows, columns = box
            edges = (columns.start, rows.start, columns.stop, rows.stop)
            things[_thing(pixels[box], mask, box)] = edges
    order = sorted(things, key=lambda thing: (round(thing.y / 8), thing.x))
    return {thing: things[thing] for thing in order}


def clearness(picture: Image | np.ndarray, thing: Thing, box: PixelBox) -> float:
    """How evenly what is in the box has the thing's colour: 1, or less where pixels differ from it;
    0 for a blob, which has no clear colour. A square with a blue corner is less clear than one that
    is all purple, though both are purple squares."""
    if thing.colour == BLOB:
        return 0.0
    left, top, right, bottom = box
    pixels = _as_pixels(picture)[top:bottom, left:right]
    foreground = np.linalg.norm(pixels - _GROUND, axis=-1) > _FOREGROUND
    inside = np.asarray(ndimage.binary_erosion(foreground), bool)
    apart = np.linalg.norm(pixels[inside] - np.array(COLOURS[thing.colour], np.float32), axis=-1)
    return 1.0 - float(apart.mean()) / _FARTHEST if apart.size else 0.0


def _as_pixels(picture: Image | np.ndarray) -> np.ndarray:
    if not isinstance(picture, np.ndarray):
        rgb = to_rgb(picture)
        picture = np.asarray(rgb if rgb.size == (SIZE, SIZE) else rgb.resize((SIZE, SIZE)))
    return picture.astype(np.float32)


def _thing(pixels: np.ndarray, mask: np.ndarray, box: tuple[slice, slice]) -> Thing:
    # The outline mixes with the ground, so the colour is read from the inside.
    inside = np.asarray(ndimage.binary_erosion(mask), bool)
    colour = _colour(pixels[inside if inside.any() else mask])
    opacity = _opacity(pixels, colour) * mask if colour != BLOB else mask.astype(np.float32)
    if (opacity < 0.5).all():  # a haze, as in previews: no pixel is halfway to its colour
        colour, opacity = BLOB, mask.astype(np.float32)
    area = float(opacity.sum())
    rows, columns = (np.arange(length) + 0.5 for length in opacity.shape)
    x, y = float(opacity.sum(0) @ columns) / area, float(opacity.sum(1) @ rows) / area
    shape = _shape(opacity, area, x, y)
    size, fall = _AREA_AND_FALL.get(shape, (np.pi, 0.0))
    radius = float(np.sqrt(area / size))
    return Thing(shape, colour, box[1].start + x, box[0].start + y - fall * radius, radius)


def _colour(pixels: np.ndarray) -> str:
    nearest = np.linalg.norm(pixels[:, None] - _PALETTE, axis=-1).argmin(1)
    votes = np.bincount(nearest, minlength=len(_NAMES))
    return _NAMES[votes.argmax()] if votes.max() >= _MIN_PURITY * len(pixels) else BLOB


def _opacity(pixels: np.ndarray, colour: str) -> np.ndarray:
    """How far each pixel is from the ground (0) to the colour (1); a soft edge is between."""
    way = np.array(COLOURS[colour], np.float32) - _GROUND
    return np.clip((pixels - _GROUND) @ way / (way @ way), 0.0, 1.0)


def _shape(opacity: np.ndarray, area: float, x: float, y: float) -> str:
    fits = sorted(((_fit(opacity, shape, area, x, y), shape) for shape in SHAPES), reverse=True)
    (best, shape), (second, _) = fits[:2]
    return shape if best >= _MIN_FIT and best - second >= _MIN_MARGIN else BLOB


def _fit(opacity: np.ndarray, shape: str, area: float, x: float, y: float) -> float:
    """Intersection over union with the shape of the same area and centre of gravity (x, y).

    Soft edges count by how far they are covered: a small shape is half edge. A bounding box would
    be enough for drawn pictures, but one stray pixel changes it.
    """
    size, fall = _AREA_AND_FALL[shape]
    radius = float(np.sqrt(area / size))
    margin = 4
    canvas = np.pad(opacity, margin)
    side = max(canvas.shape)
    ideal = coverage(shape, x + margin, y + margin - fall * radius, radius, side)
    ideal = ideal[: canvas.shape[0], : canvas.shape[1]]
    return float(np.minimum(canvas, ideal).sum() / np.maximum(canvas, ideal).sum())
