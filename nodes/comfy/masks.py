"""A picture changed only where a mask says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from ...reflectionflow_core.record import InputError, Region
from ...reflectionflow_core.regions.masks import mask_text

UNDRAWN = (64, 64)  # height and width of that mask, whatever the picture's size
NO_MASK = "No mask was drawn, so the whole picture could change."
EMPTY = (
    "The mask is empty, so nothing may change. Paint over what to fix in the mask editor, or "
    "remove the mask's wire."
)


def within_mask(before: Tensor, after: Tensor, mask: Tensor, feather: int) -> Tensor:
    """`after` inside a mask, blended over `feather` pixels at its edge; `before` outside of it.

    `before` and the result are (1, height, width, channels), `after` is (1, height, width, 3), all
    from 0 to 1; `mask` is (1, height, width), 1 where the picture may change. Where it is 0 the
    result is bit for bit `before`. Raises InputError for a mask that is empty or of another shape.
    """
    share = feathered(mask_for(mask, before), feather)[..., None]
    kept = before.expand(-1, -1, -1, 3) if before.shape[-1] == 1 else before
    opaque = torch.ones_like(kept)
    opaque[..., :3] = after.to(kept)
    blended = torch.where(share < 1, kept + (opaque - kept) * share, opaque)
    return torch.where(share > 0, blended, kept)


def as_mask_text(mask: Tensor) -> str:
    """A MASK (1, height, width) as the settings of a search hold it; raises InputError."""
    values = single_mask(mask)[0].float().cpu().numpy()
    return mask_text(Image.fromarray((values * 255).round().astype("uint8")))


def regions_of(masks: Sequence[Tensor] | None) -> list[Region | None]:
    """A region for each mask of each MASK; None, meaning everywhere, without one and for one that
    nobody has drawn. Raises InputError if all masks are empty."""
    singles = [one for batch in masks or () for one in (batch if batch.ndim == 3 else [batch])]
    if not singles or (len(singles) == 1 and is_undrawn(singles[0])):
        return [None]
    if not any(bool(one.any()) for one in singles):
        raise InputError(EMPTY)
    return [Region(mask=as_mask_text(one)) for one in singles]


def mask_of_boxes(boxes: Any, picture: Tensor) -> Tensor:
    """A mask (1, height, width) of a picture (1, height, width, channels) from ComfyUI's bounding
    boxes in its pixels: one, a list, or a list for each picture; raises InputError for others."""
    mask = torch.zeros(1, *picture.shape[1:3])
    for box in _flat(boxes):
        try:
            left, top, width, height = (float(box[name]) for name in ("x", "y", "width", "height"))
            rows = slice(max(0, math.floor(top)), max(0, math.ceil(top + height)))
            columns = slice(max(0, math.floor(left)), max(0, math.ceil(left + width)))
        except (KeyError, TypeError, ValueError, OverflowError) as error:  # also NaN and infinity
            raise InputError(
                f"A bounding box has x, y, width and height, and this one is {box!r:.60}. Wire the "
                "boxes of a detector, or draw a mask."
            ) from error
        mask[0, rows, columns] = 1
    if not bool(mask.any()):
        raise InputError(
            "There is no bounding box inside the picture, so nothing may change. Ask the detector "
            "for something else, or remove the wire."
        )
    return mask


def _flat(boxes: Any) -> list[Any]:
    if not isinstance(boxes, list | tuple):
        return [boxes]
    return [box for some in boxes for box in _flat(some)]


def single_mask(mask: Tensor) -> Tensor:
    """A mask (1, height, width) from 0 to 1; raises InputError for several."""
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3 or mask.shape[0] != 1 or not mask.numel():
        raise InputError(
            f"A mask has shape (1, height, width), and this one has {tuple(mask.shape)}. Give one "
            "mask for the picture."
        )
    return mask.clip(0, 1).nan_to_num(0)


def mask_for(mask: Tensor, picture: Tensor) -> Tensor:
    """A mask (1, height, width) from 0 to 1 at the size of the picture; raises InputError."""
    mask = single_mask(mask).to(picture)
    size = picture.shape[1:3]
    if mask.shape[1:] != size:
        # Nearest, so that nothing outside of the mask gets a share of it.
        mask = interpolate(mask[None], size=size, mode="nearest-exact")[0]
    if not bool(mask.any()):
        raise InputError(EMPTY)
    return mask


def is_undrawn(mask: Tensor) -> bool:
    """Whether a mask is what Load Image gives of a picture in which nobody has drawn one."""
    return mask.shape[-2:] == UNDRAWN and not bool(mask.any())


def feathered(mask: Tensor, pixels: int) -> Tensor:
    """A mask (1, height, width) that rises to full strength over `pixels` from its edge inwards."""
    total, inner = mask, mask
    for _ in range(pixels):
        inner = -max_pool2d(-inner[None], 3, stride=1, padding=1)[0]  # what lies a pixel deeper
        total = total + inner
    # A region thinner than the edge still changes in full at its middle.
    return total * (mask.amax() / total.amax())
