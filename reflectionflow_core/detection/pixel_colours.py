"""The colour of a thing from its pixels, by rules: no model and no download.

GenEval reads colours with a CLIP (`colours.py`), which also knows that a "red" fox is orange. The
bounds here are ours and are not calibrated on photographs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .rules import Detection

UNSURE = "no clear colour"
MIN_SHARE = 0.3  # of the thing's pixels that must agree
SIDE = 96  # pixels that a crop is reduced to
# Where each hue ends, in degrees; red goes around.
_ENDS = np.array([15, 42, 68, 165, 255, 310, 340, 361])
_NAMES = np.array(["red", "orange", "yellow", "green", "blue", "purple", "pink", "red"])


class PixelColours:
    """A ColourReader that lets the pixels of a thing vote; UNSURE where too few agree.

    Without a mask the pixels of the ellipse within the box vote. What is grey has no vote.
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
    """The colour of each pixel, (n, 3) of 0 to 1; "" for grey."""
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
