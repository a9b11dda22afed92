"""Weights that wait as their file has them, mapped into memory, and compute in another type.

FLUX in fp8 is 12 GB in its file and 24 GB in bf16. A parameter that is kept as stored takes no
memory of its own until a placement asks for it in the type of the computation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MARK = "reflectionflow_stored"  # attribute of a parameter


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """How a weight becomes what it computes with."""

    dtype: torch.dtype
    scale: Tensor | None = None  # one value, or one for each row

    def restored(self, data: Tensor, device: torch.device) -> Tensor:
        """A copy of the stored `data` on `device`, in the type of the computation."""
        data = data.to(device, non_blocking=True, copy=True)
        if self.scale is None:
            return data.to(self.dtype)
        by_row = self.scale.to(device).float().reshape(-1, *[1] * (data.dim() - 1))
        return (data.float() * by_row).to(self.dtype)


def keep_as_stored(parameter: nn.Parameter, stored: Stored) -> None:
    """From now on a placement restores the parameter's data for its use."""
    setattr(parameter, MARK, stored)


def stored_as(tensor: Tensor) -> Stored | None:
    """None for a tensor that computes as it is."""
    return getattr(tensor, MARK, None)


def restore(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Gives those that wait as stored their final data, on `device`."""
    for tensor in tensors:
        stored = stored_as(tensor)
        if stored:
            tensor.data = stored.restored(tensor.data, device)
            delattr(tensor, MARK)


def computing_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes that the tensors take while they compute."""
    dtypes = ((tensor, (stored_as(tensor) or tensor).dtype) for tensor in tensors)
    return sum(tensor.numel() * dtype.itemsize for tensor, dtype in dtypes)
