"""The Generator and the Corrector of a search, over one loaded FLUX."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..protocols import SILENT, Progress
from ..record import InputError, Seed
from .branch import FluxInputs
from .condition import Condition, ConditionSettings, encode_condition
from .latents import pack, token_ids, unpack
from .lora import CorrectorLora
from .model import Flux
from .noise import starting_noise
from .preview import latent_colours, preview
from .sampling import SamplingSettings, denoise
from .text import Text, corrector_text, encode_texts


class FluxGenerator:
    """Paints drafts: the pictures of stock FluxPipeline for the same seeds."""

    def __init__(self, flux: Flux, sampling: SamplingSettings) -> None:
        self.flux = flux
        self.sampling = sampling
        self.steps = sampling.steps

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

    def correct(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        progress: Progress = SILENT,
    ) -> list[Image.Image]:
        check_lengths(images=images, prompts=prompts, reflections=reflections, seeds=seeds)
        progress.check()
        style = self.condition.prompt_style
        texts = map(corrector_text, prompts, reflections, [style] * len(prompts))
        conditions = [encode_condition(self.flux, image, self.condition) for image in images]
        rows = list(map(Row, texts, seeds, conditions))
        return _paint(self.flux, rows, self.sampling, self.lora, progress, "correct")


@dataclass(frozen=True, slots=True)
class Row:
    """One picture to paint."""

    text: Text
    seed: Seed
    condition: Condition | None = None

    @property
    def grid(self) -> tuple[int, int]:
        return (self.condition.rows, self.condition.columns) if self.condition else (0, 0)


def _paint(
    flux: Flux,
    rows: Sequence[Row],
    sampling: SamplingSettings,
    lora: CorrectorLora | None,
    progress: Progress,
    phase: str,
) -> list[Image.Image]:
    def paint(group: Sequence[Row], share: Share) -> list[Image.Image]:
        return _decode(flux, _sample(flux, group, sampling, lora, share))

    return paint_in_groups(rows, sampling.steps, paint, progress, phase)


class Grouped(Protocol):
    @property
    def grid(self) -> tuple[int, ...]:
        """The shape of the row's condition."""
        ...


AnyRow = TypeVar("AnyRow", bound=Grouped)


def paint_in_groups(
    rows: Sequence[AnyRow],
    steps: int,
    paint: Callable[[Sequence[AnyRow], Share], list[Image.Image]],
    progress: Progress,
    phase: str,
) -> list[Image.Image]:
    """The rows' pictures in their order; rows with conditions of one shape go through together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.grid, []).append(index)
    pictures: dict[int, Image.Image] = {}
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
) -> Tensor:
    """The rows' finished latents, (B, 16, h, w)."""
    grid = (sampling.height // flux.token_pixels, sampling.width // flux.token_pixels)
    share.progress.check()
    inputs = _inputs(flux, rows, sampling, grid)
    colours = None if share.progress is SILENT else latent_colours(flux)
    latents = inputs.latents
    with closing(denoise(flux, inputs, lora, sampling.steps)) as steps:
        for done in range(1, sampling.steps + 1):
            share.progress.check()
            step = next(steps)
            latents = step.latents
            look = None if colours is None else preview(unpack(step.clean, *grid), colours)
            share.report(done, look)
    return unpack(latents, *grid)


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
        latents=pack(noise).to(flux.device),
        text=text,
        pooled=pooled,
        timestep=torch.ones(len(rows), device=flux.device),
        guidance=torch.full((len(rows),), sampling.guidance, device=flux.device),
        image_ids=token_ids(*grid).to(flux.device),
        condition=None if packed is None else packed.to(flux.device, flux.dtype),
        condition_ids=conditions[0].ids.to(flux.device) if conditions else None,
    )


@torch.no_grad()
def _decode(flux: Flux, latents: Tensor) -> list[Image.Image]:
    # One by one: a VAE at 1024 x 1024 is busy with one picture, and memory stays flat.
    return [to_picture(flux.decode(row[None])[0]) for row in latents]


def to_picture(pixels: Tensor) -> Image.Image:
    """Pixels (3, H, W) from -1 to 1 as an RGB picture."""
    if not torch.isfinite(pixels).all():
        raise RuntimeError(
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
