"""Where a correction may change its parent: regions, their masks, and the parent kept around them.

Knows pictures and verdicts, no model. A painter that can samples only inside the mask of a region;
for any painter, `compositing` restores the parent's pixels outside it, bit for bit. `masks` and
`compositing` open pictures; records and settings need neither, so that help is fast.
"""

from .joining import joined
from .places import WAYS, Region, region_of

__all__ = ["WAYS", "Region", "joined", "region_of"]
