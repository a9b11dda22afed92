"""Where a correction may change its parent: places, masks of them, and the parent kept around them.

Knows pictures and verdicts, no model. A painter that can samples inside the mask of a region only;
whoever painted, `composited` puts the parent's pixels back outside of it, bit for bit.
"""

from .compositing import composited
from .masks import alpha_of, cells_of, mask_picture, mask_text
from .places import WAYS, Region, region_of

__all__ = [
    "WAYS",
    "Region",
    "alpha_of",
    "cells_of",
    "composited",
    "mask_picture",
    "mask_text",
    "region_of",
]
