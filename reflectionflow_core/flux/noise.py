"""Initial noise from seeds, equal to that of stock FluxPipeline on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..record import Neighbour, Restart, Seed

Shape = tuple[int, ...]  # channels, frames (if any), height, width


def starting_noise(seeds: Sequence[Seed], shape: Shape, dtype: torch.dtype) -> Tensor:
    """One noise per seed, (B, channels, height, width); from the CPU, so equal on every device."""
    return torch.stack([_noise(seed, shape, dtype) for seed in seeds])


def _noise(seed: Seed, shape: Shape, dtype: torch.dtype) -> Tensor:
    moves: list[Neighbour] = []
    while isinstance(seed, Neighbour):
        moves.append(seed)
        seed = seed.pivot
    noise = _gaussian(seed.seed if isinstance(seed, Restart) else seed, shape, dtype)
    for move in reversed(moves):
        stay = math.sqrt(1 - move.radius**2)  # keeps variance 1
        other = _gaussian(move.seed, shape, dtype)
        noise = (stay * noise.float() + move.radius * other.float()).to(dtype)
    return noise


def _gaussian(seed: int, shape: Shape, dtype: torch.dtype) -> Tensor:
    # Drawn in `dtype`: rounding float32 would give other numbers.
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=dtype)
