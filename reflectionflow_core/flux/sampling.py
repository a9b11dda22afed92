"""From noise to latents: Euler steps along FLUX's velocity, on stock FluxPipeline's schedule."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from .branch import FluxInputs, step_constants, velocity
from .lora import CorrectorLora
from .model import Flux, Scheduler

CONVERGED = 0.25  # largest difference of the last two predictions of a preview


@dataclass(frozen=True, slots=True)
class SamplerStep:
    """After one step: the current `latents`, and `clean`, the predicted picture."""

    latents: Tensor  # (B, n_img, 64)
    clean: Tensor


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept while the rest is sampled: latents, their noise and a mask, (B, n, 64) each."""

    clean: Tensor
    noise: Tensor
    where: Tensor

    def blended(self, latents: Tensor, level: float) -> Tensor:
        """`latents` at a noise `level` (0 to 1), with the kept part at the same level."""
        kept = (1 - level) * self.clean.float() + level * self.noise.float()
        return torch.where(self.where, kept.to(latents), latents)


@torch.no_grad()
def denoise(
    flux: Flux,
    inputs: FluxInputs,
    lora: CorrectorLora | None,
    steps: int,
    first: int = 0,
    kept: Kept | None = None,
) -> Generator[SamplerStep, None, None]:
    """Yields after every step; a consumer may stop at any step.

    The first `first` of the `steps` are skipped: the latents have the noise level of that step.
    `kept` is blended in after every step.
    """
    modules = [flux.transformer, *([lora] if lora else [])]
    walk = flux.placement.walk
    schedule = make_schedule(flux, steps, inputs.latents.shape[1])
    latents = inputs.latents
    with flux.placement.on_device(*modules):
        constants = step_constants(flux.transformer, inputs, lora, walk)
        schedule.set_begin_index(first)
        for index, time in enumerate(schedule.timesteps[first:], start=first):
            timestep = time.expand(len(latents)).to(latents.dtype) / 1000
            state = replace(inputs, latents=latents, timestep=timestep)
            slope = velocity(flux.transformer, state, lora, constants, walk)
            clean = latents - schedule.sigmas[index] * slope
            latents = schedule.step(slope, time, latents, return_dict=False)[0]
            if kept is not None:
                latents = kept.blended(latents, float(schedule.sigmas[index + 1]))
                clean = kept.blended(clean, 0.0)
            yield SamplerStep(latents, clean)


def agreement(before: Tensor | None, clean: Tensor) -> Tensor:
    """The relative difference of two predictions (B, n, c) of the same pictures."""
    if before is None:  # a single prediction has nothing to compare with
        return torch.full((len(clean),), math.inf)
    apart, size = (x.float().flatten(1).norm(dim=1) for x in (clean - before, clean))
    return (apart / size).cpu()


def first_step(sigmas: Sequence[float], level: float) -> int:
    """The step that begins with a noise level of at most `level`, otherwise the last one."""
    found = (index for index, sigma in enumerate(sigmas) if sigma <= level + 1e-6)
    return min(next(found), len(sigmas) - 2)


def resolution_shift(image_tokens: int) -> float:
    """FLUX.1-dev's mu for this number of tokens: 0.5 at 256 pixels per side, 1.15 at 1024."""
    return calculate_shift(image_tokens)


def make_schedule(flux: Flux, steps: int, image_tokens: int) -> Scheduler:
    """A separate scheduler for one sample, shifted for the picture's size as in FluxPipeline."""
    config = flux.scheduler.config
    schedule = type(flux.scheduler).from_config(config)
    mu = calculate_shift(
        image_tokens,
        config.base_image_seq_len,
        config.max_image_seq_len,
        config.base_shift,
        config.max_shift,
    )
    sigmas = np.linspace(1.0, 1 / steps, steps).tolist()
    schedule.set_timesteps(sigmas=sigmas, device=flux.device, mu=mu)
    schedule.set_begin_index(0)
    return schedule
