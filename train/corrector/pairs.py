"""A pair of pictures for the corrector: the same crop of both, at the size of its bucket."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image
from PIL.Image import Image as Picture

from reflectionflow_core.flux.condition import ConditionSettings, resized
from train.triplets import SampleError

Size = tuple[int, int]  # width and height in pixels
NARROWEST = 8.0  # largest aspect ratio; a narrower picture would be enlarged to a blur


@cache
def buckets(target: int, max_aspect: float = 1.0, unit: int = 16) -> tuple[Size, ...]:
    """Sizes (width, height) of about target x target pixels, from square to `max_aspect` both ways.

    Sides are multiples of `unit`, the pixels of a token; widths differ by about a sixteenth.
    """
    step = max(unit, target // 16 // unit * unit)
    sizes = {(target, target)}
    for width in range(target, math.floor(target * math.sqrt(max_aspect)) + 1, step):
        height = max(unit, round(target * target / width / unit) * unit)
        if width / height <= max_aspect:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def nearest(size: Size, among: tuple[Size, ...]) -> Size:
    """The bucket with the nearest aspect ratio."""

    def distance(bucket: Size) -> float:
        return abs(math.log(size[0] * bucket[1] / (size[1] * bucket[0])))

    return min(among, key=distance)


def prepared(
    good: Picture,
    bad: Picture,
    bucket: Size,
    condition: ConditionSettings,
    rng: np.random.Generator,
) -> tuple[Picture, Picture]:
    """Target and condition: the same random crop of both pictures, as large as possible (paper
    §4.1).

    The flawed picture is first scaled to the size of the good one. Uses Pillow's bicubic filter.
    """
    if max(good.size) > NARROWEST * min(good.size):
        raise SampleError("picture too narrow")
    scale = max(bucket[0] / good.width, bucket[1] / good.height)
    width, height = (
        max(side, round(full * scale)) for side, full in zip(bucket, good.size, strict=True)
    )
    left = int(rng.integers(width - bucket[0] + 1))
    top = int(rng.integers(height - bucket[1] + 1))
    box = (left, top, left + bucket[0], top + bucket[1])
    target, flawed = (
        _scaled(picture, (width, height)).crop(box) for picture in (good, _scaled(bad, good.size))
    )
    return target, resized(flawed, condition)


def black(condition: ConditionSettings, bucket: Size) -> Picture:
    """The condition for a dropped picture."""
    return resized(Image.new("RGB", bucket), condition)


def _scaled(picture: Picture, size: Size) -> Picture:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)
