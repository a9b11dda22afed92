"""A rough picture of unfinished latents, by a fitted linear map or by a tiny VAE."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .model import Flux

CELL = 16  # side of a single-colour cell in the fitted picture, in pixels
CELLS = 16  # cells per side
_SMALL = 2_000_000  # most weights of a tiny VAE; FLUX's has 84 million


def previewer(flux: Flux) -> Callable[[Tensor], Image.Image]:
    """A function from latents (B, 16, h, w) to a preview with B pictures side by side."""
    if sum(weights.numel() for weights in flux.vae.parameters()) <= _SMALL:
        return partial(_decoded, flux)
    return partial(preview, colours=latent_colours(flux))


def latent_colours(flux: Flux) -> Tensor:
    """Weights (17, 3) from a latent's 16 numbers and a 1 to red, green, blue from -1 to 1."""
    return flux.colours.get("colours", lambda: _fit(flux))


def preview(latents: Tensor, colours: Tensor) -> Image.Image:
    """Latents (B, 16, h, w) as B pictures of w x h pixels side by side."""
    row = _row(latents)
    values = torch.cat([row, torch.ones_like(row[:1])]).permute(1, 2, 0) @ colours
    return _picture(values)


@torch.no_grad()
def _decoded(flux: Flux, latents: Tensor) -> Image.Image:
    return _picture(_row(flux.decode(latents)).permute(1, 2, 0))


def _row(several: Tensor) -> Tensor:
    """(B, c, h, w) as one (c, h, B * w) in host memory."""
    return torch.cat(list(several.float().cpu()), dim=2)


def _picture(values: Tensor) -> Image.Image:
    """Colours (h, w, 3) from -1 to 1."""
    return Image.fromarray(((values.clamp(-1, 1) + 1) * 127.5).byte().numpy())


@torch.no_grad()
def _fit(flux: Flux) -> Tensor:
    """Least squares for this VAE on a picture of random single-colour cells."""
    generator = torch.Generator("cpu").manual_seed(0)
    cells = torch.rand(1, 3, CELLS, CELLS, generator=generator) * 2 - 1
    pixels = cells.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    latents = flux.encode(pixels).float().cpu()
    colours = adaptive_avg_pool2d(pixels, (latents.shape[2], latents.shape[3]))
    inputs = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1).flatten(2)[0].T
    # Ridge regression gives small weights to channels that hardly depend on colour.
    square = inputs.T @ inputs + 0.01 * len(inputs) * torch.eye(inputs.shape[1])
    return torch.linalg.solve(square, inputs.T @ colours.flatten(2)[0].T)
