"""The colour of an object from its pixels, by rules, without a model.

GenEval reads colours with CLIP (`colours.py`), which also knows that a "red" fox is orange. These
limits are our own and not calibrated on photographs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .rules import Detection

UNSURE = "no clear colour"
MIN_SHARE = 0.3  # share of the object's pixels that must agree
SIDE = 96  # side in pixels to which a crop is reduced
# The end of each hue in degrees; red wraps around.
_ENDS = np.array([15, 42, 68, 165, 255, 310, 340, 361])
_NAMES = np.array(["red", "orange", "yellow", "green", "blue", "purple", "pink", "red"])


class PixelColours:
    """A ColourReader in which the pixels of an object vote; UNSURE if too few agree.

    Without a mask, the pixels of the ellipse in the box vote. Grey pixels do not vote.
    """

    def colours(self, image: Image.Image, things: Sequence[Detection]) -> list[str]:
        picture = image.convert("RGB")
        return [_voted(*_pixels(picture, thing)) for thing in things]


def _pixels(picture: Image.Image, thing: Detection) -> tuple[np.ndarray, np.ndarray]:
    """The crop of the box, (height, width, 3) of 0 to 1, and which of its pixels count."""
    left, top, right, bottom = map(round, thing.box)
    left, top = min(max(left, 0), picture.width - 1), min(max(top, 0), picture.height - 1)
    box = (left, top, max(min(right, picture.width), left + 1), 0)
    box = (*box[:3], max(min(bottom, picture.height), top + 1))
    size = (min(SIDE, box[2] - box[0]), min(SIDE, box[3] - box[1]))
    crop = np.asarray(picture.resize(size, Image.Resampling.BOX, box), np.float32) / 255
    if thing.mask is not None:
        mask = Image.fromarray(thing.mask).convert("L").resize(size, Image.Resampling.BOX, box)
        inside = np.asarray(mask) > 127
    else:
        y, x = (np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in size[::-1])
        inside = x[None, :] ** 2 + y[:, None] ** 2 <= 0.7
    return crop, inside if inside.any() else np.ones(inside.shape, bool)


def _voted(crop: np.ndarray, inside: np.ndarray) -> str:
    names = pixel_names(crop[inside])
    known, counts = np.unique(names[names != ""], return_counts=True)
    if not len(known) or counts.max() < MIN_SHARE * len(names):
        return UNSURE
    return str(known[counts.argmax()])


def pixel_names(pixels: np.ndarray) -> np.ndarray:
    """The colour of each pixel of (n, 3) from 0 to 1; "" for grey."""
    high, low = pixels.max(1), pixels.min(1)
    spread = np.maximum(high - low, 1e-6)
    red, green, blue = pixels.T
    around = np.where(
        high == red,
        (green - blue) / spread % 6,
        np.where(high == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    hue, saturation = 60 * around, (high - low) / np.maximum(high, 1e-6)
    names = _NAMES[np.searchsorted(_ENDS, hue, side="right").clip(max=len(_NAMES) - 1)]
    names = names.astype("<U8")
    names[(hue >= 10) & (hue < 50) & (high < 0.65)] = "brown"
    dull_red = (names == "red") & (high < 0.68) & (saturation < 0.78)
    names[dull_red] = "brown"
    reddish = (names == "red") & (high > 0.75) & (saturation < 0.55)
    names[reddish] = "pink"
    grey = saturation < 0.2
    names[grey] = ""
    names[grey & (high > 0.82)] = "white"
    names[(high < 0.2) | (grey & (high < 0.3))] = "black"
    return names
