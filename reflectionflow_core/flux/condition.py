"""A picture as the corrector's condition: resized, encoded once, placed left of the canvas."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..pictures import to_rgb
from .latents import pack, token_ids
from .model import Flux
from .settings import ConditionSettings


@dataclass(frozen=True, slots=True)
class Condition:
    """A picture's clean latents (rows * columns, 64)."""

    latents: Tensor
    rows: int
    columns: int

    @property
    def ids(self) -> Tensor:
        """Positions left of the canvas: columns -`columns` to -1."""
        return token_ids(self.rows, self.columns, shift=-self.columns)


def encode_condition(flux: Flux, picture: Image.Image, settings: ConditionSettings) -> Condition:
    """The picture's condition, cached by pixels."""
    picture = resized(picture, settings, flux.token_pixels)
    columns, rows = (side // flux.token_pixels for side in picture.size)
    return Condition(encode_picture(flux, picture), rows, columns)


def encode_picture(flux: Flux, picture: Image.Image) -> Tensor:
    """The clean latents of an RGB picture, packed: (n, 64)."""
    key = (picture.size, hashlib.sha256(picture.tobytes()).digest())
    return flux.pictures.get(key, lambda: _encode(flux, picture))


def resized(picture: Image.Image, settings: ConditionSettings, unit: int = 16) -> Image.Image:
    """The picture in RGB, its sides multiples of `unit` pixels, by Pillow's bicubic filter."""
    longer = max(picture.size)
    sides = [
        settings.size
        if settings.fit == "squash"
        else max(round(side * settings.size / longer / unit), 1) * unit
        for side in picture.size
    ]
    return to_rgb(picture).resize((sides[0], sides[1]), Image.Resampling.BICUBIC)


def to_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size as (B, 3, H, W) from -1 to 1."""
    bytes_ = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return bytes_.permute(0, 3, 1, 2).float() / 255 * 2 - 1


@torch.no_grad()
def _encode(flux: Flux, picture: Image.Image) -> Tensor:
    return pack(flux.encode(to_pixels([picture])))[0].cpu()
