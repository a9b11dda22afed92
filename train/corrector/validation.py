"""How far the training is: the loss on held-out samples, always at the same noises and times, and
some of them corrected, on a sheet.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from PIL.Image import Image as Picture
from torch import Tensor, nn

from reflectionflow_core.flux.latents import unpack
from reflectionflow_core.flux.lora import CorrectorLora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.painter import to_picture
from reflectionflow_core.flux.sampling import denoise
from train.corrector.loss import Predict, flow_error, mixed
from train.corrector.samples import WHOLE, BatchSource, TrainingBatch
from train.corrector.settings import Validation
from train.triplets import SampleError

GAP = 4  # pixels between pictures


def held_out(count: int, of: int, seed: int) -> list[int]:
    """Samples that the training never draws; at most half of them all, in the order of looking."""
    return np.random.default_rng([seed, 0]).permutation(of)[: min(count, of // 2)].tolist()


class Checks:
    """Held-out samples, encoded once."""

    def __init__(
        self, flux: Flux, source: BatchSource, indices: Sequence[int], settings: Validation
    ) -> None:
        self.flux, self.settings = flux, settings
        self.batches = list(_batches(source, indices))

    @torch.no_grad()
    def loss(self, predict: Predict) -> float | None:
        """The mean over the samples, whose times are spread evenly; None where there are none."""
        errors = []
        for index, batch in enumerate(self.batches):
            time = torch.tensor([(index + 0.5) / len(self.batches)])
            inputs, slope = mixed(batch, _noise(batch, index), time)
            even = torch.ones(batch.target.shape[:2], device=slope.device)
            errors.append(float(flow_error(predict(inputs), slope, even)))
        return float(np.mean(errors)) if errors else None

    @torch.no_grad()
    def sheet(self, lora: CorrectorLora) -> bytes | None:
        """A PNG with a row for each sample: flawed, corrected, good."""
        rows = []
        for index, batch in enumerate(self.batches[: self.settings.pictures]):
            corrected = self._corrected(batch, lora, _noise(batch, index))
            views = [
                (batch.condition, batch.condition_grid),
                (corrected, batch.grid),
                (batch.target, batch.grid),
            ]
            rows.append([self._picture(*view) for view in views])
        nn.Module.to(self.flux.vae, "cpu")  # the training may not need it
        return _png(rows) if rows else None

    def _corrected(self, batch: TrainingBatch, lora: CorrectorLora, noise: Tensor) -> Tensor:
        inputs, _ = mixed(batch, noise, torch.ones(1))
        guidance = torch.full_like(inputs.guidance, self.settings.guidance)
        latents = inputs.latents
        for step in denoise(
            self.flux, replace(inputs, guidance=guidance), lora, self.settings.steps
        ):
            latents = step.latents
        return latents

    def _picture(self, tokens: Tensor, grid: tuple[int, int]) -> Picture:
        return to_picture(self.flux.decode(unpack(tokens, *grid))[0])


def _batches(source: BatchSource, indices: Sequence[int]) -> Iterator[TrainingBatch]:
    for index in indices:
        try:
            row = source.read(index, WHOLE, np.random.default_rng(index))
        except SampleError:
            continue  # it is no training sample either
        yield source.batch([row])


def _noise(batch: TrainingBatch, index: int) -> Tensor:
    return torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(index))


def _png(rows: Sequence[Sequence[Picture]]) -> bytes:
    width = max(picture.width for row in rows for picture in row)
    height = max(picture.height for row in rows for picture in row)
    sheet = Image.new("RGB", (3 * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture.resize(row[-1].size), (x * (width + GAP), y * (height + GAP)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
