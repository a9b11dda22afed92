"""Latents in the form of FLUX's transformer: packed two by two into tokens, with positions."""

from __future__ import annotations

import torch
from torch import Tensor


def pack(latents: Tensor) -> Tensor:
    """(B, C, 2r, 2c) -> (B, r * c, 4C)."""
    batch, channels, height, width = latents.shape
    cells = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """(B, rows * columns, 4C) -> (B, C, 2 rows, 2 columns)."""
    cells = tokens.reshape(tokens.shape[0], rows, columns, -1, 2, 2)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(tokens.shape[0], -1, rows * 2, columns * 2)


def token_ids(rows: int, columns: int, shift: int = 0) -> Tensor:
    """Positions (0, row, column + shift) of a grid of tokens, (rows * columns, 3).

    In float32: bf16, used here by stock FLUX, is exact only up to 256.
    """
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] = torch.arange(rows)[:, None]
    ids[..., 2] = torch.arange(columns)[None, :] + shift
    return ids.reshape(-1, 3)
