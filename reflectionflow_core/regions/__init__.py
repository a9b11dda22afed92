"""Where a correction may change its parent: places, masks of them, and the parent kept around them.

Knows pictures and verdicts, no model. A painter that can samples inside the mask of a region only;
whoever painted, `compositing` puts the parent's pixels back outside of it, bit for bit. `masks` and
`compositing` open pictures; records and settings need neither, so that help comes at once.
"""

from .joining import joined
from .places import WAYS, Region, region_of

__all__ = ["WAYS", "Region", "joined", "region_of"]
