"""Pastes a painted picture into its parent, inside a region."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .masks import alpha_of
from .places import Region


def composited(parent: Image.Image, painted: Image.Image, region: Region) -> Image.Image:
    """The parent, changed only inside the region, at the parent's size.

    Outside it every pixel is the parent's, bit for bit; at its edge the two are blended.
    """
    before = np.asarray(parent.convert("RGB"))
    if painted.size != parent.size:
        painted = painted.resize(parent.size, Image.Resampling.LANCZOS)
    after = np.asarray(painted.convert("RGB"))
    alpha = alpha_of(region, parent.size)[..., None]
    blended = np.rint(before + (after.astype(np.float32) - before) * alpha).astype(np.uint8)
    return Image.fromarray(np.where(alpha > 0, blended, before))
