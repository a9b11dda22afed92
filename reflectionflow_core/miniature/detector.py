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
_MIN_AREA = 30  # pixels; the smallest thing of the world covers about 77
# A shape's area in squared radii, and how far below its box's centre its centre of gravity lies.
_AREA_AND_FALL = {
    "circle": (np.pi, 0.0),
    "square": (4 * EXTENT["square"][0] * EXTENT["square"][1], 0.0),
    "triangle": (2 * EXTENT["triangle"][0] * EXTENT["triangle"][1], EXTENT["triangle"][1] / 3),
}
_MIN_FIT = 0.72  # intersection over union with the best shape
_MIN_MARGIN = 0.05  # by which the best shape must beat the next
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
    solid = mask & (_opacity(pixels, colour) >= 0.5) if colour != BLOB else mask
    if not solid.any():  # a haze, as in previews: no pixel is halfway to its colour
        colour, solid = BLOB, mask
    rows, columns = np.nonzero(solid)
    top, left = box[0].start, box[1].start
    x = left + (columns.min() + columns.max() + 1) / 2
    y = top + (rows.min() + rows.max() + 1) / 2
    radius = (columns.max() - columns.min() + 1) / 2
    return Thing(_shape(solid), colour, float(x), float(y), float(radius))


def _colour(pixels: np.ndarray) -> str:
    nearest = np.linalg.norm(pixels[:, None] - _PALETTE, axis=-1).argmin(1)
    votes = np.bincount(nearest, minlength=len(_NAMES))
    return _NAMES[votes.argmax()] if votes.max() >= _MIN_PURITY * len(pixels) else BLOB


def _opacity(pixels: np.ndarray, colour: str) -> np.ndarray:
    """How far each pixel is from the ground (0) to the colour (1); a soft edge is halfway."""
    way = np.array(COLOURS[colour], np.float32) - _GROUND
    return (pixels - _GROUND) @ way / (way @ way)


def _shape(mask: np.ndarray) -> str:
    fits = sorted(((_fit(mask, shape), shape) for shape in SHAPES), reverse=True)
    (best, shape), (second, _) = fits[:2]
    return shape if best >= _MIN_FIT and best - second >= _MIN_MARGIN else BLOB


def _fit(mask: np.ndarray, shape: str) -> float:
    """Intersection over union with the shape that has the mask's area and centre of gravity.

    A bounding box would be enough for drawn pictures, but one stray pixel changes it.
    """
    rows, columns = np.nonzero(mask)
    size = max(mask.shape) + 8
    canvas = np.zeros((size, size), bool)
    canvas[rows + 4, columns + 4] = True
    area, fall = _AREA_AND_FALL[shape]
    radius = float(np.sqrt(len(rows) / area))
    x, y = columns.mean() + 4.5, rows.mean() + 4.5 - fall * radius
    ideal = coverage(shape, x, y, radius, size) >= 0.5
    return float((canvas & ideal).sum() / (canvas | ideal).sum())
