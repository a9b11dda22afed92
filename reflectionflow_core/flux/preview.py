"""A rough picture of unfinished latents, by the linear map that fits this VAE best."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .model import Flux

CELL = 16  # pixels of one colour in the picture that the map is fitted to
CELLS = 16  # a side


def latent_colours(flux: Flux) -> Tensor:
    """Weights (17, 3) from a latent's 16 numbers and a 1 to red, green, blue from -1 to 1."""
    return flux.colours.get("colours", lambda: _fit(flux))


def preview(latents: Tensor, colours: Tensor) -> Image.Image:
    """Latents (B, 16, h, w) as B pictures of w x h pixels side by side."""
    row = torch.cat(list(latents.float().cpu()), dim=2)  # (16, h, B * w)
    values = torch.cat([row, torch.ones_like(row[:1])]).permute(1, 2, 0) @ colours
    return Image.fromarray(((values.clamp(-1, 1) + 1) * 127.5).byte().numpy())


@torch.no_grad()
def _fit(flux: Flux) -> Tensor:
    """Least squares on a picture of random flat cells, for this VAE."""
    generator = torch.Generator("cpu").manual_seed(0)
    cells = torch.rand(1, 3, CELLS, CELLS, generator=generator) * 2 - 1
    pixels = cells.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    latents = flux.encode(pixels).float().cpu()
    colours = adaptive_avg_pool2d(pixels, (latents.shape[2], latents.shape[3]))
    inputs = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1).flatten(2)[0].T
    # Ridge regression, so that channels that hardly depend on colour get small weights.
    square = inputs.T @ inputs + 0.01 * len(inputs) * torch.eye(inputs.shape[1])
    return torch.linalg.solve(square, inputs.T @ colours.flatten(2)[0].T)
