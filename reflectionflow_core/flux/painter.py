"""FLUX as the painters of a search, and the base class of all painters of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import torch
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor

from ..pictures import to_rgb
from ..protocols import SILENT, Painted, Preview, Progress, preview_steps
from ..record import InputError, Region, Request, Restart, Seed
from ..regions.masks import alpha_of, cells_of
from .branch import FluxInputs
from .condition import Condition, ConditionSettings, encode_condition, encode_picture
from .latents import pack, token_ids, unpack
from .lora import CorrectorLora
from .model import Flux
from .noise import starting_noise
from .preview import previewer
from .sampling import (
    CONVERGED,
    Kept,
    agreement,
    denoise,
    first_step,
    make_schedule,
)
from .settings import SamplingSettings
from .text import Text, corrector_text, encode_texts


class GroupedRow(Protocol):
    @property
    def grid(self) -> tuple[int, ...]:
        """Rows with equal grids can share a batch; depends on the shape of conditions and more."""
        ...


AnyRow = TypeVar("AnyRow", bound=GroupedRow)
Made = TypeVar("Made")


class BatchPainter(Generic[AnyRow]):
    """A Painter with previews and restarts, over any model that samples rows in a batch.

    A subclass defines how a request becomes a row and how rows are sampled.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.preview_steps = preview_steps(steps)

    def row(self, request: Request) -> AnyRow:
        """What the model needs of a request, such as the encoded parent."""
        raise NotImplementedError

    def sample(
        self, rows: Sequence[AnyRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        """The final latents (B, c, h, w), and the difference of the last two predictions (B,)."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> list[Image.Image]:
        raise NotImplementedError

    def levels(self) -> list[float]:
        """The noise level before each step, starting at 1, and 0 after the last."""
        raise NotImplementedError

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image.Image]:
        def paint(rows: Sequence[AnyRow], part: ProgressSlice) -> list[Image.Image]:
            return self.decode(self.sample(rows, self.steps, part)[0])

        return self._in_groups(requests, self.steps, paint, progress)

    def preview(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Preview]:
        """The pictures after a few long steps from the same noise."""

        def look(rows: Sequence[AnyRow], part: ProgressSlice) -> list[Preview]:
            latents, apart = self.sample(rows, self.preview_steps, part)
            return list(map(Preview, self.decode(latents), (apart <= CONVERGED).tolist()))

        return self._in_groups(requests, self.preview_steps, look, progress)

    def steps_from(self, level: float) -> int:
        return self.steps - first_step(self.levels(), level)

    def first_of(self, request: Request) -> int:
        """The step that a request starts with: 0, or later for a restart."""
        seed = request.seed
        return self.steps - self.steps_from(seed.level) if isinstance(seed, Restart) else 0

    def _in_groups(
        self,
        requests: Sequence[Request],
        steps: int,
        paint: Callable[[Sequence[AnyRow], ProgressSlice], list[Made]],
        progress: Progress,
    ) -> list[Made]:
        """The pictures in the order of the requests; rows with equal grids are batched."""
        progress.check()
        groups: dict[tuple[int, ...], list[tuple[int, AnyRow]]] = {}
        for index, row in enumerate(map(self.row, requests)):
            groups.setdefault(row.grid, []).append((index, row))
        pictures: dict[int, Made] = {}
        for before, group in enumerate(groups.values()):
            indices, rows = zip(*group, strict=True)
            phase, total = requests[0].phase, len(groups) * steps
            part = ProgressSlice(progress, phase, before * steps, total)
            pictures.update(zip(indices, paint(rows, part), strict=True))
        return [pictures[index] for index in range(len(requests))]


@dataclass(frozen=True, slots=True)
class ProgressSlice:
    """A group's part of the progress of a whole batch, in steps."""

    progress: Progress
    phase: str
    before: int
    total: int

    def report(self, done: int, picture: Image.Image | None) -> None:
        self.progress.report(self.phase, self.before + done, self.total, picture)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a correction keeps: its parent's latents (c, h, w) where `mask` (h, w) is False."""

    latents: Tensor
    mask: Tensor


class LatentPainter(BatchPainter[AnyRow]):
    """A painter of FLUX.1's latents, which its corrector blends corrections in regions into."""

    def paint_with_latents(
        self, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[Painted]:
        """`paint`, with the latents (c, h, w) of each picture in the form of `written`."""

        def paint(rows: Sequence[AnyRow], part: ProgressSlice) -> list[Painted]:
            latents = self.sample(rows, self.steps, part)[0]
            return list(map(Painted, self.decode(latents), map(written, latents)))

        return self._in_groups(requests, self.steps, paint, progress)


@dataclass(frozen=True, slots=True)
class FluxRow:
    """A picture to paint, from noise or from the clean latents `start` (n, 64).

    `start` gets the noise that step `first` begins with.
    """

    text: Text
    seed: Seed
    condition: Condition | None = None
    start: Tensor | None = None
    first: int = 0
    kept: Keeping | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        shape = (self.condition.rows, self.condition.columns) if self.condition else (0, 0)
        return (*shape, self.first)


class FluxPainter(LatentPainter[FluxRow]):
    """FLUX with diffusers, with or without a LoRA on the condition."""

    def __init__(
        self, flux: Flux, sampling: SamplingSettings, lora: CorrectorLora | None = None
    ) -> None:
        super().__init__(sampling.steps)
        self.flux = flux
        self.sampling, self.size = sampling, sampling.size
        self.lora = lora

    def sample(
        self, rows: Sequence[FluxRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        return _sample(self.flux, rows, replace(self.sampling, steps=steps), self.lora, progress)

    def decode(self, latents: Tensor) -> list[Image.Image]:
        return _decode(self.flux, latents)

    def levels(self) -> list[float]:
        return _levels(self.flux, self.sampling)


class FluxGenerator(FluxPainter):
    """Paints drafts: the same pictures as stock FluxPipeline for the same seeds.

    A restart begins with the parent's picture, not its latents, which a resumed search does not
    have.
    """

    def row(self, request: Request) -> FluxRow:
        start = None
        if isinstance(request.seed, Restart):
            start = _start(self.flux, request.required_parent.image, self.sampling)
        first = self.first_of(request)
        return FluxRow(self.text(request), request.seed, start=start, first=first)

    def text(self, request: Request) -> Text:
        return Text(request.prompt, request.prompt)


class FluxCorrector(FluxPainter):
    """Repaints pictures by their reflections, with the corrector's LoRA on the condition."""

    def __init__(
        self,
        flux: Flux,
        lora: CorrectorLora,
        sampling: SamplingSettings,
        condition: ConditionSettings | None = None,
    ) -> None:
        super().__init__(flux, sampling, lora)
        self.corrector_lora = lora
        self.condition = condition or ConditionSettings()

    def row(self, request: Request) -> FluxRow:
        text = corrector_text(request.prompt, request.reflection, self.condition.prompt_style)
        condition = encode_condition(self.flux, request.required_parent.image, self.condition)
        return FluxRow(text, request.seed, condition, kept=self._kept(request))

    def _kept(self, request: Request) -> Keeping | None:
        if request.region is None:
            return None
        parent, unit = request.required_parent, self.flux.token_pixels
        rows, columns = self.sampling.height // unit, self.sampling.width // unit
        channels = self.flux.transformer.config["in_channels"] // 4
        latents = read_latents(parent.latents, (channels, rows * 2, columns * 2))
        if latents is None:
            packed = _start(self.flux, parent.image, self.sampling)
            latents = unpack(packed[None], rows, columns)[0]
        return Keeping(latents, sampled_cells(request.region, parent.image.size, latents.shape))


def _sample(
    flux: Flux,
    rows: Sequence[FluxRow],
    sampling: SamplingSettings,
    lora: CorrectorLora | None,
    part: ProgressSlice,
) -> tuple[Tensor, Tensor]:
    """The final latents (B, 16, h, w), and the difference of the last two predictions (B,)."""
    grid = (sampling.height // flux.token_pixels, sampling.width // flux.token_pixels)
    part.progress.check()
    inputs = _inputs(flux, rows, sampling, grid)
    look = None if part.progress is SILENT else previewer(flux)
    latents, first = inputs.latents, rows[0].first
    clean: Tensor | None = None
    apart = agreement(None, latents)
    kept = _kept_of(rows, latents)
    with closing(denoise(flux, inputs, lora, sampling.steps, first, kept)) as steps:
        for done in range(first + 1, sampling.steps + 1):
            part.progress.check()
            step = next(steps)
            latents, apart, clean = step.latents, agreement(clean, step.clean), step.clean
            part.report(done, look(unpack(clean, *grid)) if look else None)
    return unpack(latents, *grid), apart


@torch.no_grad()
def _inputs(
    flux: Flux, rows: Sequence[FluxRow], sampling: SamplingSettings, grid: tuple[int, int]
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


def _kept_of(rows: Sequence[FluxRow], noise: Tensor) -> Kept | None:
    """What the rows keep, or None; `noise` (B, n, 64) is their initial noise."""
    if not any(row.kept for row in rows):
        return None
    clean, where = torch.zeros_like(noise), torch.zeros_like(noise, dtype=torch.bool)
    for index, keeping in enumerate(row.kept for row in rows):
        if keeping is not None:
            mask = keeping.mask.expand_as(keeping.latents)
            clean[index] = pack(keeping.latents[None])[0].to(noise)
            where[index] = ~pack(mask[None])[0].to(noise.device)
    return Kept(clean, noise, where)


def sampled_cells(region: Region, size: tuple[int, int], shape: Sequence[int]) -> Tensor:
    """Mask of the latents of `shape` (..., h, w) that are sampled for a region.

    `size` is the (width, height) of the picture.
    """
    return torch.from_numpy(cells_of(alpha_of(region, size), shape[-2], shape[-1]))


def written(latents: Tensor) -> bytes:
    """Latents as stored in a History: safetensors in their own precision."""
    return save({"latents": latents.detach().cpu().contiguous()})


def read_latents(data: bytes | None, shape: Sequence[int]) -> Tensor | None:
    """The latents of `written`; None if none have that `shape` (c, h, w), as from another model."""
    latents = load(data)["latents"] if data is not None else None
    return latents if latents is not None and latents.shape == tuple(shape) else None


def _start(flux: Flux, image: Image.Image, sampling: SamplingSettings) -> Tensor:
    """The clean latents (n, 64) of a picture, fitted to the canvas."""
    size = (sampling.width, sampling.height)
    return encode_picture(flux, to_rgb(image).resize(size, Image.Resampling.BICUBIC))


def _noised(
    flux: Flux, rows: Sequence[FluxRow], noise: Tensor, sampling: SamplingSettings
) -> Tensor:
    """The rows' initial values (B, n, 64): noise, or a picture with the requested noise."""
    starts = [row.start for row in rows if row.start is not None]
    if not starts:
        return noise
    level = _levels(flux, sampling)[rows[0].first]
    clean = torch.stack(starts).float()
    return ((1 - level) * clean + level * noise.float()).to(noise.dtype)


def _levels(flux: Flux, sampling: SamplingSettings) -> list[float]:
    """The noise level before each step, starting at 1, and 0 after the last."""
    tokens = (sampling.height // flux.token_pixels) * (sampling.width // flux.token_pixels)
    return make_schedule(flux, sampling.steps, tokens).sigmas.tolist()


@torch.no_grad()
def _decode(flux: Flux, latents: Tensor) -> list[Image.Image]:
    # One by one: a 1024 x 1024 picture keeps a VAE busy, and memory stays low.
    return [to_picture(flux.decode(row[None])[0]) for row in latents]


def to_picture(pixels: Tensor) -> Image.Image:
    """Pixels (3, H, W) from -1 to 1 as an RGB picture."""
    if not torch.isfinite(pixels).all():
        raise InputError(
            "FLUX painted values that are not numbers, which would be a black picture. "
            "Check the weights and the LoRA, or load FLUX with dtype fp32."
        )
    # With numpy, whose rounding diffusers uses.
    values = (pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().float().numpy()
    return Image.fromarray((values * 255).round().astype("uint8"))
