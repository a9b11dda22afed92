"""Weights that stay as stored in their file, memory-mapped, and are converted for computation.

FLUX in fp8 is 12 GB in its file and 24 GB in bf16. A parameter kept as stored takes no extra memory
until a placement requests it in the computation's type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MARK = "reflectionflow_stored"  # name of a parameter's attribute


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """The conversion of a stored weight for computation."""

    dtype: torch.dtype
    scale: Tensor | None = None  # one value, or one per row

    def restored(self, data: Tensor, device: torch.device) -> Tensor:
        """A converted copy of the stored `data` on `device`."""
        # MPS has no 8-bit floats: they are converted in host memory.
        where = torch.device("cpu") if device.type == "mps" else device
        data = data.to(where, non_blocking=True, copy=True)
        if self.scale is not None:
            data = data.float() * self.scale.to(where).float().reshape(-1, *[1] * (data.dim() - 1))
        return data.to(self.dtype).to(device)


def keep_as_stored(parameter: nn.Parameter, stored: Stored) -> None:
    """Makes placements convert the parameter's data when it is used."""
    setattr(parameter, MARK, stored)


def stored_as(tensor: Tensor) -> Stored | None:
    """The conversion of a tensor, or None if it is used as it is."""
    return getattr(tensor, MARK, None)


def restore(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Gives stored tensors their converted data on `device`."""
    for tensor in tensors:
        stored = stored_as(tensor)
        if stored:
            tensor.data = stored.restored(tensor.data, device)
            delattr(tensor, MARK)


def computing_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors during computation."""
    dtypes = ((tensor, (stored_as(tensor) or tensor).dtype) for tensor in tensors)
    return sum(tensor.numel() * dtype.itemsize for tensor, dtype in dtypes)
