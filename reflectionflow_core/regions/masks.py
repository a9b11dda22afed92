"""The masks of a region: how much of each pixel may change, and which latents are sampled."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from .places import Region

GROWN = 1 / 16  # of the picture's longer side, around every box; the change fades out over it
FEATHER = 1 / 64  # the same of a user's mask, inwards: outside of it nothing may change


def alpha_of(region: Region, size: tuple[int, int]) -> np.ndarray:
    """How much of each pixel of a picture of `size` (width, height) may change: (height, width)
    of float32, 0 to 1.

    It is 1 inside a box and falls to 0 around it. A user's mask falls off inside its edge.
    """
    margin = max(1, round(max(size) * GROWN))
    if region.mask is not None:
        alpha = _drawn(region.mask, size)
    else:
        alpha = np.zeros((size[1], size[0]), np.float32)
    for left, top, right, bottom in region.boxes:
        columns = _rise(left * size[0], right * size[0], size[0], margin)
        rows = _rise(top * size[1], bottom * size[1], size[1], margin)
        alpha = np.maximum(alpha, np.minimum(rows[:, None], columns[None, :]))
    return alpha


def cells_of(alpha: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Mask (rows, columns) of the cells that are sampled: those with a pixel that may change."""
    height, width = alpha.shape
    down = np.maximum.reduceat(alpha, np.arange(rows) * height // rows, axis=0)
    return np.maximum.reduceat(down, np.arange(columns) * width // columns, axis=1) > 0


def mask_text(picture: Image.Image) -> str:
    """A mask, white where a picture may change, as a text that settings can hold: PNG in base64."""
    data = BytesIO()
    picture.convert("L").save(data, "PNG", optimize=True)
    return base64.b64encode(data.getvalue()).decode("ascii")


def mask_picture(text: str) -> Image.Image:
    """The 8-bit grey picture of `mask_text`; raises ValueError for any other text."""
    try:
        picture = Image.open(BytesIO(base64.b64decode(text, validate=True)))
        picture.load()
    except (ValueError, OSError, SyntaxError) as error:
        raise ValueError("it is no PNG in base64") from error
    return picture.convert("L")


def lighter(texts: Sequence[str]) -> str:
    """The mask that is white where any of some masks is, as large as the first."""
    first, *others = map(mask_picture, texts)
    for mask in others:
        first = ImageChops.lighter(first, mask.resize(first.size, Image.Resampling.NEAREST))
    return mask_text(first)


def _rise(low: float, high: float, length: int, margin: int) -> np.ndarray:
    """1 between two edges, falling to 0 over `margin` pixels on both sides: (length,)."""
    centres = np.arange(length, dtype=np.float32) + 0.5
    outside = np.maximum(np.maximum(low - centres, centres - high), 0)
    return np.clip(1 - outside / margin, 0, 1).astype(np.float32)


def _drawn(text: str, size: tuple[int, int]) -> np.ndarray:
    # Nearest, so that nothing outside of what was drawn gets a share of it.
    mask = mask_picture(text).resize(size, Image.Resampling.NEAREST)
    drawn = total = np.asarray(mask, np.float32) / 255
    reach = round(max(size) * FEATHER)
    for _ in range(reach):
        mask = mask.filter(ImageFilter.MinFilter(3))
        total = total + np.asarray(mask, np.float32) / 255
    # A stroke thinner than the edge still changes in full at its middle, also beside a wide one.
    return total * (_highest_near(drawn, reach) / np.maximum(_highest_near(total, reach), 1e-6))


def _highest_near(values: np.ndarray, reach: int) -> np.ndarray:
    """The highest value within `reach` pixels of each, in rows and columns."""
    for _ in range(2):
        values = np.pad(values, ((reach, reach), (0, 0)))
        width = 1  # how many rows each maximum is of by now
        while width <= 2 * reach:
            step = min(width, 2 * reach + 1 - width)
            values = np.maximum(values[:-step], values[step:])
            width += step
        values = values.T
    return values
