"""One region that covers several."""

from __future__ import annotations

from collections.abc import Sequence

from .places import Region


def joined(regions: Sequence[Region]) -> Region:
    """The region that covers all of some regions, at least one."""
    boxes = tuple(dict.fromkeys(box for region in regions for box in region.boxes))
    masks = dict.fromkeys(region.mask for region in regions if region.mask is not None)
    said = any(region.said for region in regions)
    if len(masks) < 2:
        return Region(boxes, next(iter(masks), None), said)
    from .masks import lighter

    return Region(boxes, lighter([*masks]), said)
