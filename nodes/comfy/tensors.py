"""ComfyUI's IMAGE (B, H, W, C; float32 from 0 to 1) and Pillow pictures, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...reflectionflow_core.pictures import to_rgb
from ...reflectionflow_core.record import InputError


def to_pictures(images: Iterable[Tensor]) -> list[Image.Image]:
    """Every picture of every batch, in order, as RGB; raises InputError for none."""
    pictures = [_picture(pixels) for batch in images for pixels in _batch(batch)]
    if not pictures:
        raise InputError("No picture arrives. Check the node that is wired to the images.")
    return pictures


def to_batch(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as one IMAGE."""
    arrays = np.stack([np.asarray(to_rgb(picture)) for picture in pictures])
    return torch.from_numpy(arrays).float() / 255


def to_batches(pictures: Sequence[Image.Image]) -> list[Tensor]:
    """The pictures in their order; neighbours of one size share a batch."""
    return [to_batch(list(group)) for _, group in groupby(pictures, key=lambda p: p.size)]


def _batch(images: Tensor) -> Tensor:
    if not isinstance(images, Tensor):
        raise InputError(
            f"An IMAGE is a tensor, and this one is {images!r:.40}. Check the node that made it."
        )
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        raise InputError(
            f"An IMAGE has shape (batch, height, width, 3), and this one has {tuple(images.shape)}."
            " Check the node that made it."
        )
    if not bool(torch.isfinite(images).all()):
        raise InputError(
            "A picture holds values that are not numbers, which would be black. "
            "Check the node that made it."
        )
    return images


def _picture(pixels: Tensor) -> Image.Image:
    """Pixels (H, W, C) from 0 to 1; a fourth channel is alpha, over the white of picture files."""
    values = pixels.float().cpu().clip(0, 1)
    if values.shape[-1] == 4:
        alpha = values[..., 3:]
        values = values[..., :3] * alpha + (1 - alpha)
    return Image.fromarray((values.expand(-1, -1, 3).numpy() * 255).round().astype("uint8"))
