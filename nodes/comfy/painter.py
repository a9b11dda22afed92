"""FLUX as ComfyUI has loaded it (MODEL, CLIP, VAE) behind the pack's FLUX socket.

Texts, noise, schedule and condition are the same as in the core, so that both paint the same
pictures from the same weights; precision, memory and patches are ComfyUI's.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import ModelSamplingFlux, flux_time_shift
from PIL import Image
from torch import Tensor

from ...reflectionflow_core.flux.cache import Cache
from ...reflectionflow_core.flux.condition import ConditionSettings
from ...reflectionflow_core.flux.lora import read_corrector_lora
from ...reflectionflow_core.flux.painter import (
    Keeping,
    LatentPainter,
    ProgressSlice,
    read_latents,
    sampled_cells,
)
from ...reflectionflow_core.flux.sampling import resolution_shift
from ...reflectionflow_core.flux.settings import SamplingSettings, changed_sampling
from ...reflectionflow_core.flux.text import Text, corrector_text
from ...reflectionflow_core.pictures import to_rgb
from ...reflectionflow_core.protocols import Painter
from ...reflectionflow_core.record import InputError, Request, Restart, Seed
from . import AS_FLUX
from .branch import (
    CHANNELS,
    KEY,
    check_vae,
    corrector_of,
    flux_of,
    latents_of,
    with_corrector,
)
from .digests import models_digest, weights_digest
from .lora import NativeLora, native_shapes
from .sampling import (
    SamplerSchedule,
    Start,
    agreement_of,
    decoded,
    is_independent,
    noise_for,
    sampled,
)
from .tensors import to_batch

TOKENS = 512  # of T5, with which the corrector was trained; ComfyUI's own choice is 256


@dataclass(frozen=True, eq=False)
class ComfyFlux:
    """Three of ComfyUI's models and their settings; changed copies share the weights."""

    model: ModelPatcher = field(repr=False)
    clip: Any = field(repr=False)
    vae: Any = field(repr=False)
    sampling: SamplingSettings
    condition: ConditionSettings
    sampler: str = "euler"
    scheduler: str = AS_FLUX
    lora: str | None = None  # path of the corrector, if our own loader set it
    # Up to 8 MB each, in host memory.
    texts: Cache[tuple[Tensor, Tensor]] = field(default_factory=lambda: Cache(16), repr=False)

    def __post_init__(self) -> None:
        flux_of(self.model)
        check_vae(self.vae)

    @property
    def chosen(self) -> Mapping[str, Any]:
        return {
            "model": "ComfyUI's MODEL",
            "lora": self.lora,
            "size": self.sampling.size,
            "steps": self.sampling.steps,
            "guidance": self.sampling.guidance,
            "condition_size": self.condition.size,
            "condition_fit": self.condition.fit,
        }

    @cached_property
    def identity(self) -> Mapping[str, str]:
        lora = corrector_of(self.model)
        models = models_digest(self.model, self.clip, self.vae)
        text = f"{models} {self.sampler} {self.scheduler}"
        return {
            "model": hashlib.sha256(text.encode()).hexdigest(),
            "lora": "" if lora is None else weights_digest(lora),
        }

    @property
    def generator(self) -> Painter:
        return ComfyGenerator(self)

    @property
    def corrector(self) -> Painter | None:
        return None if corrector_of(self.model) is None else ComfyCorrector(self)

    def with_corrector(self, path: str) -> ComfyFlux:
        flux = flux_of(self.model)
        lora = NativeLora(read_corrector_lora(path, native_shapes(flux)), flux)
        return replace(self, model=with_corrector(self.model, lora), lora=path)

    def with_sampling(self, **changes: Any) -> ComfyFlux:
        sampling, condition = changed_sampling(self.sampling, self.condition, changes)
        return replace(self, sampling=sampling, condition=condition)


@dataclass(frozen=True, slots=True)
class ComfyRow:
    """One picture to paint.

    `seen` is the latent (1, 16, h, w) of the picture to correct, `start` that of a picture to
    repaint from the noise level of step `first`, `kept` what is kept of the parent. With `alone` it
    shares no batch.
    """

    text: Text
    seed: Seed
    seen: Tensor | None = None
    start: Tensor | None = None
    first: int = 0
    kept: Keeping | None = None
    alone: bool = False

    @property
    def grid(self) -> tuple[int, ...]:
        own = (id(self),) if self.alone else ()
        return (self.first, *(() if self.seen is None else self.seen.shape), *own)


class ComfyPainter(LatentPainter[ComfyRow]):
    """Paints with ComfyUI's models what the core's FluxPainter paints with diffusers'."""

    def __init__(self, flux: ComfyFlux) -> None:
        super().__init__(flux.sampling.steps)
        self.flux, self.size = flux, flux.sampling.size
        self.alone = not is_independent(flux.sampler)

    def sample(
        self, rows: Sequence[ComfyRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        predictions: deque[Tensor] = deque(maxlen=2)
        flux = replace(self.flux, sampling=replace(self.flux.sampling, steps=steps))
        latents = _sample(flux, rows, progress, predictions.append)
        return latents, agreement_of(predictions, len(rows))

    def decode(self, latents: Tensor) -> list[Image.Image]:
        return decoded(self.flux.vae, latents)

    def levels(self) -> list[float]:
        return _levels(self.flux).tolist()


class ComfyGenerator(ComfyPainter):
    """Paints drafts, and pictures that restart from a level of noise."""

    def row(self, request: Request) -> ComfyRow:
        start = None
        if isinstance(request.seed, Restart):
            start = _start(self.flux, request.required_parent.image)
        text, first = Text(request.prompt, request.prompt), self.first_of(request)
        return ComfyRow(text, request.seed, start=start, first=first, alone=self.alone)


class ComfyCorrector(ComfyPainter):
    """Repaints pictures with the corrector that the MODEL carries."""

    def row(self, request: Request) -> ComfyRow:
        settings = self.flux.condition
        text = corrector_text(request.prompt, request.reflection, settings.prompt_style)
        seen = latents_of([request.required_parent.image], self.flux.vae, settings)
        return ComfyRow(text, request.seed, seen, kept=self._kept(request), alone=self.alone)

    def _kept(self, request: Request) -> Keeping | None:
        if request.region is None:
            return None
        parent, sampling = request.required_parent, self.flux.sampling
        shape = (CHANNELS, sampling.height // 8, sampling.width // 8)
        latents = read_latents(parent.latents, shape)
        if latents is None:
            (latents,) = _start(self.flux, parent.image)
        return Keeping(latents, sampled_cells(request.region, parent.image.size, shape))


def _sample(
    flux: ComfyFlux,
    group: Sequence[ComfyRow],
    part: ProgressSlice,
    watch: Callable[[Tensor], None],
) -> Tensor:
    """The rows' finished latents (B, 16, h, w)."""
    settings, seeds = flux.sampling, [row.seed for row in group]
    schedule = SamplerSchedule(flux.sampler, _levels(flux)[group[0].first :])
    noise = noise_for(flux.model, seeds, (CHANNELS, settings.height // 8, settings.width // 8))
    words = [flux.texts.get(row.text, lambda t=row.text: encode(flux.clip, t)) for row in group]
    values: dict[str, Any] = {
        "pooled_output": torch.cat([pooled for _, pooled in words]),
        "guidance": settings.guidance,
    }
    seen = [row.seen for row in group if row.seen is not None]
    if seen:
        values |= {"reference_latents": [torch.cat(seen)], "reference_latents_method": KEY}
    asked = [[torch.cat([states for states, _ in words]), values]]
    starts = [row.start for row in group if row.start is not None]
    start = Start(torch.cat(starts)) if starts else None
    if any(row.kept for row in group):
        start = _kept_of(group, noise)
    # Without CFG the negative is not used.
    both = asked, asked
    return sampled(flux.model, schedule, noise, both, part, seeds[0], start, watch)


def _kept_of(group: Sequence[ComfyRow], noise: Tensor) -> Start:
    """What all rows keep; rows that keep nothing have an empty mask. Shaped as `noise`."""
    latents = torch.zeros_like(noise)
    mask = torch.ones_like(noise[:, 0], dtype=torch.bool)
    for index, kept in enumerate(row.kept for row in group):
        if kept is not None:
            latents[index], mask[index] = kept.latents.to(noise), kept.mask
    return Start(latents, mask)


def _start(flux: ComfyFlux, image: Image.Image) -> Tensor:
    """The latent (1, 16, h, w) of a picture, fitted to the canvas."""
    size = (flux.sampling.width, flux.sampling.height)
    return flux.vae.encode(to_batch([to_rgb(image).resize(size, Image.Resampling.BICUBIC)]))


def _levels(flux: ComfyFlux) -> Tensor:
    return sigmas_of(flux.model, flux.sampling, flux.scheduler, flux.sampler)


def sigmas_of(
    model: ModelPatcher, settings: SamplingSettings, scheduler: str, sampler: str
) -> Tensor:
    """Noise levels from 1 to 0, (steps + 1,), as KSampler takes them: of some samplers it leaves a
    level out."""
    if scheduler != AS_FLUX:
        how = (settings.steps, model.load_device, sampler, scheduler, 1.0)
        return comfy.samplers.KSampler(model, *how).sigmas
    sampling = model.get_model_object("model_sampling")
    times = torch.linspace(1, 1 / settings.steps, settings.steps)
    if isinstance(sampling, ModelSamplingFlux) and "model_sampling" not in model.object_patches:
        tokens = (settings.width // 16) * (settings.height // 16)
        sigmas = flux_time_shift(resolution_shift(tokens), 1.0, times)
    else:  # an artist's own shift, set by a node of ComfyUI; FLUX.1-schnell has none
        sigmas = sampling.sigma(times)
    return torch.cat([sigmas, torch.zeros(1)])


def encode(clip: Any, text: Text) -> tuple[Tensor, Tensor]:
    """T5 states (1, n, d) and pooled CLIP (1, d), n being 512 unless the CLIP takes less."""
    # Without weights: "(left)" in a reflection is plain text.
    plain = {"disable_weights": True}
    tokens = clip.tokenize(text.t5, tokenizer_options={"t5xxl_min_length": TOKENS}, **plain)
    if not isinstance(tokens, dict) or not {"l", "t5xxl"} <= tokens.keys():
        raise InputError(
            "This CLIP does not read texts as FLUX.1 does. Load clip_l and t5xxl with "
            "DualCLIPLoader, type flux."
        )
    tokens = {"l": clip.tokenize(text.clip, **plain)["l"], "t5xxl": _cut(tokens["t5xxl"], text.t5)}
    return clip.encode_from_tokens(tokens, return_pooled=True)


def _cut(batches: list[list], text: str) -> list[list]:
    """At most 512 tokens of a text, with its end token."""
    (row,) = batches
    if len(row) <= TOKENS:
        return batches
    logging.warning(
        "ReflectionFlow: the text that begins with %r is %d tokens long, but FLUX takes %d. The "
        "end was cut off. Shorten the prompt or the reflection.",
        text[:40],
        len(row),
        TOKENS,
    )
    return [[*row[: TOKENS - 1], row[-1]]]
