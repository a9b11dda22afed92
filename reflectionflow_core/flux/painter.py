"""The Generator and the Corrector of a search, over one loaded FLUX."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..protocols import SILENT, Foresight, Progress
from ..record import InputError, Restart, Seed
from .branch import FluxInputs
from .condition import Condition, ConditionSettings, encode_condition, encode_picture, rgb
from .latents import pack, token_ids, unpack
from .lora import CorrectorLora
from .model import Flux
from .noise import starting_noise
from .preview import latent_colours, preview
from .sampling import (
    CLEAR,
    SamplingSettings,
    agreement,
    denoise,
    first_step,
    foresight_steps,
    make_schedule,
)
from .text import Text, corrector_text, encode_texts


class FluxGenerator:
    """Paints drafts: the pictures of stock FluxPipeline for the same seeds."""

    def __init__(self, flux: Flux, sampling: SamplingSettings) -> None:
        self.flux = flux
        self.sampling = sampling
        self.steps = sampling.steps
        self.foresight_steps = foresight_steps(sampling.steps)

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[Seed], progress: Progress = SILENT
    ) -> list[Image.Image]:
        return self.paint(list(map(Text, prompts, prompts)), seeds, progress)

    def paint(
        self, texts: Sequence[Text], seeds: Sequence[Seed], progress: Progress = SILENT
    ) -> list[Image.Image]:
        """Like `generate`, where CLIP and T5 are told different texts."""
        check_lengths(prompts=texts, seeds=seeds)
        rows = list(map(Row, texts, seeds))
        return _paint(self.flux, rows, self.sampling, None, progress, "draft")

    def foresee(
        self, prompts: Sequence[str], seeds: Sequence[Seed], progress: Progress = SILENT
    ) -> list[Foresight]:
        check_lengths(prompts=prompts, seeds=seeds)
        rows = list(map(Row, map(Text, prompts, prompts), seeds))
        return _foresee(self.flux, rows, self.sampling, None, progress, "draft")

    def steps_from(self, level: float) -> int:
        return self.steps - first_step(_levels(self.flux, self.sampling), level)

    def repaint(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        seeds: Sequence[Restart],
        progress: Progress = SILENT,
    ) -> list[Image.Image]:
        """From the pictures as they are seen: a resumed search has no latents but a VAE's."""
        check_lengths(images=images, prompts=prompts, seeds=seeds)
        progress.check()
        starts = [_start(self.flux, image, self.sampling) for image in images]
        firsts = [self.steps - self.steps_from(seed.level) for seed in seeds]
        unconditioned = [None] * len(seeds)
        rows = list(map(Row, map(Text, prompts, prompts), seeds, unconditioned, starts, firsts))
        return _paint(self.flux, rows, self.sampling, None, progress, "repaint")


class FluxCorrector:
    """Repaints pictures as their reflections ask, with the corrector's LoRA on the condition."""

    def __init__(
        self,
        flux: Flux,
        lora: CorrectorLora,
        sampling: SamplingSettings,
        condition: ConditionSettings | None = None,
    ) -> None:
        self.flux = flux
        self.lora = lora
        self.sampling = sampling
        self.condition = condition or ConditionSettings()
        self.steps = sampling.steps
        self.foresight_steps = foresight_steps(sampling.steps)

    def correct(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        progress: Progress = SILENT,
    ) -> list[Image.Image]:
        rows = self._rows(images, prompts, reflections, seeds, progress)
        return _paint(self.flux, rows, self.sampling, self.lora, progress, "correct")

    def foresee(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        progress: Progress = SILENT,
    ) -> list[Foresight]:
        rows = self._rows(images, prompts, reflections, seeds, progress)
        return _foresee(self.flux, rows, self.sampling, self.lora, progress, "correct")

    def _rows(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        progress: Progress,
    ) -> list[Row]:
        check_lengths(images=images, prompts=prompts, reflections=reflections, seeds=seeds)
        progress.check()
        style = self.condition.prompt_style
        texts = map(corrector_text, prompts, reflections, [style] * len(prompts))
        conditions = [encode_condition(self.flux, image, self.condition) for image in images]
        return list(map(Row, texts, seeds, conditions))


@dataclass(frozen=True, slots=True)
class Row:
    """One picture to paint: from noise, or from the clean latents `start` (n, 64) taken back to the
    noise that step `first` begins with."""

    text: Text
    seed: Seed
    condition: Condition | None = None
    start: Tensor | None = None
    first: int = 0

    @property
    def grid(self) -> tuple[int, ...]:
        shape = (self.condition.rows, self.condition.columns) if self.condition else (0, 0)
        return (*shape, self.first)


def _paint(
    flux: Flux,
    rows: Sequence[Row],
    sampling: SamplingSettings,
    lora: CorrectorLora | None,
    progress: Progress,
    phase: str,
) -> list[Image.Image]:
    def paint(group: Sequence[Row], share: Share) -> list[Image.Image]:
        latents, _ = _sample(flux, group, sampling, lora, share)
        return _decode(flux, latents)

    return paint_in_groups(rows, sampling.steps, paint, progress, phase)


def _foresee(
    flux: Flux,
    rows: Sequence[Row],
    sampling: SamplingSettings,
    lora: CorrectorLora | None,
    progress: Progress,
    phase: str,
) -> list[Foresight]:
    """The pictures that few long steps lead to, from the same noise; blurred ones are not clear."""
    few = replace(sampling, steps=foresight_steps(sampling.steps))

    def look(group: Sequence[Row], share: Share) -> list[Foresight]:
        latents, apart = _sample(flux, group, few, lora, share)
        return list(map(Foresight, _decode(flux, latents), (apart <= CLEAR).tolist()))

    return paint_in_groups(rows, few.steps, look, progress, phase)


class Grouped(Protocol):
    @property
    def grid(self) -> tuple[int, ...]:
        """Rows of one grid can share a batch: that of the shape of their conditions, or of more."""
        ...


AnyRow = TypeVar("AnyRow", bound=Grouped)
Painted = TypeVar("Painted")


def paint_in_groups(
    rows: Sequence[AnyRow],
    steps: int,
    paint: Callable[[Sequence[AnyRow], Share], list[Painted]],
    progress: Progress,
    phase: str,
) -> list[Painted]:
    """The rows' pictures in their order; rows with conditions of one shape go through together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.grid, []).append(index)
    pictures: dict[int, Painted] = {}
    for before, group in enumerate(groups.values()):
        share = Share(progress, phase, before * steps, len(groups) * steps)
        painted = paint([rows[index] for index in group], share)
        pictures.update(zip(group, painted, strict=True))
    return [pictures[index] for index in range(len(rows))]


@dataclass(frozen=True, slots=True)
class Share:
    """A group's part of the progress of a whole batch, in steps."""

    progress: Progress
    phase: str
    before: int
    total: int

    def report(self, done: int, picture: Image.Image | None) -> None:
        self.progress.report(self.phase, self.before + done, self.total, picture)


def _sample(
    flux: Flux,
    rows: Sequence[Row],
    sampling: SamplingSettings,
    lora: CorrectorLora | None,
    share: Share,
) -> tuple[Tensor, Tensor]:
    """The rows' finished latents, (B, 16, h, w), and how far their last two predictions, (B,), lie
    apart."""
    grid = (sampling.height // flux.token_pixels, sampling.width // flux.token_pixels)
    share.progress.check()
    inputs = _inputs(flux, rows, sampling, grid)
    colours = None if share.progress is SILENT else latent_colours(flux)
    latents, first = inputs.latents, rows[0].first
    clean: Tensor | None = None
    apart = agreement(None, latents)
    with closing(denoise(flux, inputs, lora, sampling.steps, first)) as steps:
        for done in range(first + 1, sampling.steps + 1):
            share.progress.check()
            step = next(steps)
            latents, apart, clean = step.latents, agreement(clean, step.clean), step.clean
            look = None if colours is None else preview(unpack(clean, *grid), colours)
            share.report(done, look)
    return unpack(latents, *grid), apart


@torch.no_grad()
def _inputs(
    flux: Flux, rows: Sequence[Row], sampling: SamplingSettings, grid: tuple[int, int]
) -> FluxInputs:
    text, pooled = encode_texts(flux, [row.text for row in rows], sampling.max_sequence_length)
    shape = (flux.transformer.config["in_channels"] // 4, grid[0] * 2, grid[1] * 2)
    noise = starting_noise([row.seed for row in rows], shape, flux.dtype)
    conditions = [row.condition for row in rows if row.condition]
    packed = torch.stack([condition.latents for condition in conditions]) if conditions else None
    return FluxInputs(
        latents=_noised(flux, rows, pack(noise), sampling).to(flux.device),
        text=text,
        pooled=pooled,
        timestep=torch.ones(len(rows), device=flux.device),
        guidance=torch.full((len(rows),), sampling.guidance, device=flux.device),
        image_ids=token_ids(*grid).to(flux.device),
        condition=None if packed is None else packed.to(flux.device, flux.dtype),
        condition_ids=conditions[0].ids.to(flux.device) if conditions else None,
    )


def _start(flux: Flux, image: Image.Image, sampling: SamplingSettings) -> Tensor:
    """The clean latents (n, 64) of a picture, fitted to the canvas."""
    size = (sampling.width, sampling.height)
    return encode_picture(flux, rgb(image).resize(size, Image.Resampling.BICUBIC))


def _noised(flux: Flux, rows: Sequence[Row], noise: Tensor, sampling: SamplingSettings) -> Tensor:
    """What the rows begin with (B, n, 64): noise, or a picture under as much of it as is asked."""
    starts = [row.start for row in rows if row.start is not None]
    if not starts:
        return noise
    level = _levels(flux, sampling)[rows[0].first]
    clean = torch.stack(starts).float()
    return ((1 - level) * clean + level * noise.float()).to(noise.dtype)


def _levels(flux: Flux, sampling: SamplingSettings) -> list[float]:
    """The noise before each step, from 1 on, and 0 after the last."""
    tokens = (sampling.height // flux.token_pixels) * (sampling.width // flux.token_pixels)
    return make_schedule(flux, sampling.steps, tokens).sigmas.tolist()


@torch.no_grad()
def _decode(flux: Flux, latents: Tensor) -> list[Image.Image]:
    # One by one: a VAE at 1024 x 1024 is busy with one picture, and memory stays flat.
    return [to_picture(flux.decode(row[None])[0]) for row in latents]


def to_picture(pixels: Tensor) -> Image.Image:
    """Pixels (3, H, W) from -1 to 1 as an RGB picture."""
    if not torch.isfinite(pixels).all():
        raise InputError(
            "FLUX painted values that are not numbers, which would be a black picture. "
            "Check the weights and the LoRA, or load FLUX with dtype fp32."
        )
    # Through numpy, whose rounding is the one that diffusers uses.
    values = (pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().float().numpy()
    return Image.fromarray((values * 255).round().astype("uint8"))


def check_lengths(**lists: Sized) -> None:
    if len({len(items) for items in lists.values()}) > 1:
        counts = ", ".join(f"{len(items)} {name}" for name, items in lists.items())
        raise InputError(f"Every picture needs one of each, got {counts}. Give as many of each.")
