"""Flow matching on the target's tokens, conditioned on the clean flawed picture (paper §3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from reflectionflow_core.flux.branch import FluxInputs
from reflectionflow_core.flux.latents import pack, token_ids, unpack
from train.corrector.samples import TrainingBatch
from train.fit import Draw
from train.triplets import sibling_group

Predict = Callable[[FluxInputs], Tensor]
Times = Callable[[int, torch.Generator], Tensor]
# A term added to the loss, such as a second task, from the batch and FLUX's inputs.
Extra = Callable[[TrainingBatch, FluxInputs], Tensor]


class FlowLoss:
    """The loss of a draw's batch; noise and times are also determined by the draw.

    With `shared`, siblings have the same noise and time, so that only texts tell their targets
    apart.
    """

    def __init__(
        self,
        predict: Predict,
        batches: Callable[[Draw], TrainingBatch],
        times: Times,
        changed_weight: float = 0.0,
        extra: Extra | None = None,
        shared: bool = False,
    ) -> None:
        self.predict, self.batches, self.times = predict, batches, times
        self.changed_weight, self.extra, self.shared = changed_weight, extra, shared

    def __call__(self, draw: Draw) -> Tensor:
        batch = self.batches(draw)
        _, generator = draw.generators()
        # Drawn on the CPU, so that a seed gives the same training on every device.
        noise = torch.randn(batch.target.shape, generator=generator)
        times = self.times(len(noise), generator)
        if self.shared:
            rows = first_siblings(batch.keys)
            noise, times = noise[rows], times[rows]
        inputs, slope = mixed(batch, noise, times)
        weights = change_weights(batch, self.changed_weight)
        loss = flow_error(self.predict(inputs), slope, weights).mean()
        return loss + self.extra(batch, inputs) if self.extra else loss


def first_siblings(keys: Sequence[str]) -> list[int]:
    """For each row, the first row with the same flawed picture."""
    groups = [sibling_group(key) for key in keys]
    return [groups.index(group) for group in groups]


def logit_normal(shift: float = 1.0, shifted: float = 1.0) -> Times:
    """Times (B,) from 0 to 1 (noise): the sigmoid of a normal variable, as upstream.

    A share `shifted` of them is moved towards noise by s·u / (1 + (s - 1)·u), which small models
    need.
    """

    def draw(count: int, generator: torch.Generator) -> Tensor:
        plain = torch.randn(count, generator=generator).sigmoid()
        moved = shift * plain / (1 + (shift - 1) * plain)
        return torch.where(torch.rand(count, generator=generator) < shifted, moved, plain)

    return draw


def mixed(batch: TrainingBatch, noise: Tensor, times: Tensor) -> tuple[FluxInputs, Tensor]:
    """FLUX's inputs at `times` (B,), and the slope noise - target that it should predict."""
    target = batch.target.float()
    noise, times = noise.to(target), times.to(target)
    t = times[:, None, None]
    like = batch.condition
    inputs = FluxInputs(
        latents=((1 - t) * target + t * noise).to(like.dtype),
        text=batch.text,
        pooled=batch.pooled,
        timestep=times,
        guidance=torch.ones_like(times),
        image_ids=token_ids(*batch.grid).to(like.device),
        condition=like,
        condition_ids=token_ids(*batch.condition_grid, shift=-batch.condition_grid[1]).to(
            like.device
        ),
    )
    return inputs, noise - target


def flow_error(found: Tensor, slope: Tensor, weights: Tensor) -> Tensor:
    """The mean squared error of each sample (B,), weighted by token with `weights` (B, n_img)."""
    error = (found.float() - slope).square().mean(2)
    return (weights * error).sum(1) / weights.sum(1)


def change_weights(batch: TrainingBatch, added: float) -> Tensor:
    """Loss weights (B, n_img): from 1 up to 1 + `added` where the target differs most from the
    flawed picture.

    Latents are compared at the condition's resolution.
    """
    if not added:
        return torch.ones(batch.target.shape[:2], device=batch.target.device)
    target, condition = (
        unpack(tokens.float(), *grid)
        for tokens, grid in (
            (batch.target, batch.grid),
            (batch.condition, batch.condition_grid),
        )
    )
    height, width = condition.shape[2:]
    difference = adaptive_avg_pool2d(target, (height, width)) - condition
    difference = difference.abs().mean(1, keepdim=True)  # (B, 1, h, w)
    difference = interpolate(difference, target.shape[2:], mode="area")
    tokens = pack(difference).mean(2)
    largest = tokens.amax(1, keepdim=True).clamp(min=torch.finfo(tokens.dtype).tiny)
    return 1 + added * batch.shown[:, None] * tokens / largest
