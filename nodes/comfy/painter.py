"""FLUX as ComfyUI has it loaded (MODEL, CLIP, VAE) behind the pack's FLUX socket.

Same texts, noises, schedule and condition as in the core, so that both paint the same pictures
from the same weights; precision, memory and patches are ComfyUI's.
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
from ...reflectionflow_core.flux.condition import ConditionSettings, rgb
from ...reflectionflow_core.flux.lora import read_corrector_lora
from ...reflectionflow_core.flux.painter import Share, check_lengths, paint_in_groups
from ...reflectionflow_core.flux.sampling import (
    CLEAR,
    SamplingSettings,
    agreement,
    first_step,
    foresight_steps,
    resolution_shift,
)
from ...reflectionflow_core.flux.text import Text, corrector_text
from ...reflectionflow_core.protocols import SILENT, Corrector, Foresight, Generator, Progress
from ...reflectionflow_core.record import InputError, Restart, Seed
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
from .diffusers_flux import changed_sampling
from .digests import weights_digest
from .lora import NativeLora, native_shapes
from .sampling import Course, decoded, noise_for, sampled
from .tensors import to_batch

TOKENS = 512  # of T5, with which the corrector was trained; ComfyUI's own choice is 256


@dataclass(frozen=True, eq=False)
class ComfyFlux:
    """Three of ComfyUI's models and how they shall paint; changed copies share the weights."""

    model: ModelPatcher = field(repr=False)
    clip: Any = field(repr=False)
    vae: Any = field(repr=False)
    sampling: SamplingSettings
    condition: ConditionSettings
    sampler: str = "euler"
    scheduler: str = AS_FLUX
    lora: str | None = None  # path of the corrector, where it came by the socket
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
            "size": (self.sampling.width, self.sampling.height),
            "steps": self.sampling.steps,
            "guidance": self.sampling.guidance,
            "condition_size": self.condition.size,
            "condition_fit": self.condition.fit,
        }

    @cached_property
    def identity(self) -> Mapping[str, str]:
        lora = corrector_of(self.model)
        told = f"{weights_digest(self.model)} {self.sampler} {self.scheduler}"
        return {
            "model": hashlib.sha256(told.encode()).hexdigest(),
            "lora": "" if lora is None else weights_digest(lora),
        }

    @property
    def generator(self) -> Generator:
        return ComfyGenerator(self)

    @property
    def corrector(self) -> Corrector | None:
        return None if corrector_of(self.model) is None else ComfyCorrector(self)

    def with_corrector(self, path: str) -> ComfyFlux:
        flux = flux_of(self.model)
        lora = NativeLora(read_corrector_lora(path, native_shapes(flux)), flux)
        return replace(self, model=with_corrector(self.model, lora), lora=path)

    def with_sampling(self, **changes: Any) -> ComfyFlux:
        sampling, condition = changed_sampling(self.sampling, self.condition, changes)
        return replace(self, sampling=sampling, condition=condition)


class ComfyGenerator:
    """Paints drafts."""

    def __init__(self, flux: ComfyFlux) -> None:
        self.flux = flux
        self.steps = flux.sampling.steps
        self.foresight_steps = foresight_steps(flux.sampling.steps)

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[Seed], progress: Progress = SILENT
    ) -> list[Image.Image]:
        check_lengths(prompts=prompts, seeds=seeds)
        texts = map(Text, prompts, prompts)
        return _paint(self.flux, list(map(Row, texts, seeds)), progress, "draft")

    def foresee(
        self, prompts: Sequence[str], seeds: Sequence[Seed], progress: Progress = SILENT
    ) -> list[Foresight]:
        check_lengths(prompts=prompts, seeds=seeds)
        texts = map(Text, prompts, prompts)
        return _foresee(self.flux, list(map(Row, texts, seeds)), progress, "draft")

    def steps_from(self, level: float) -> int:
        return self.steps - first_step(_levels(self.flux).tolist(), level)

    def repaint(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        seeds: Sequence[Restart],
        progress: Progress = SILENT,
    ) -> list[Image.Image]:
        check_lengths(images=images, prompts=prompts, seeds=seeds)
        progress.check()
        starts = [_start(self.flux, image) for image in images]
        firsts = [self.steps - self.steps_from(seed.level) for seed in seeds]
        texts = map(Text, prompts, prompts)
        rows = list(map(Row, texts, seeds, [None] * len(seeds), starts, firsts))
        return _paint(self.flux, rows, progress, "repaint")


class ComfyCorrector:
    """Repaints pictures with the corrector that the MODEL carries."""

    def __init__(self, flux: ComfyFlux) -> None:
        self.flux = flux
        self.steps = flux.sampling.steps
        self.foresight_steps = foresight_steps(flux.sampling.steps)

    def correct(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        progress: Progress = SILENT,
    ) -> list[Image.Image]:
        rows = self._rows(images, prompts, reflections, seeds, progress)
        return _paint(self.flux, rows, progress, "correct")

    def foresee(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        progress: Progress = SILENT,
    ) -> list[Foresight]:
        rows = self._rows(images, prompts, reflections, seeds, progress)
        return _foresee(self.flux, rows, progress, "correct")

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
        settings = self.flux.condition
        texts = map(corrector_text, prompts, reflections, [settings.prompt_style] * len(prompts))
        seen = [latents_of([image], self.flux.vae, settings) for image in images]
        return list(map(Row, texts, seeds, seen))


@dataclass(frozen=True, slots=True)
class Row:
    """One picture to paint; `seen` is the latent (1, 16, h, w) of the picture to correct, `start`
    that of one to take back to the noise which step `first` begins with."""

    text: Text
    seed: Seed
    seen: Tensor | None = None
    start: Tensor | None = None
    first: int = 0

    @property
    def grid(self) -> tuple[int, ...]:
        return (self.first, *(() if self.seen is None else self.seen.shape))


def _paint(
    flux: ComfyFlux, rows: Sequence[Row], progress: Progress, phase: str
) -> list[Image.Image]:
    def paint(group: Sequence[Row], share: Share) -> list[Image.Image]:
        return decoded(flux.vae, _sample(flux, group, share))

    return paint_in_groups(rows, flux.sampling.steps, paint, progress, phase)


def _foresee(
    flux: ComfyFlux, rows: Sequence[Row], progress: Progress, phase: str
) -> list[Foresight]:
    """As in the core: the pictures that few long steps lead to, from the same noise."""
    steps = foresight_steps(flux.sampling.steps)
    few = replace(flux, sampling=replace(flux.sampling, steps=steps))

    def look(group: Sequence[Row], share: Share) -> list[Foresight]:
        predictions: deque[Tensor] = deque(maxlen=2)
        pictures = decoded(flux.vae, _sample(few, group, share, predictions.append))
        before = predictions[0] if len(predictions) == 2 else None
        apart = agreement(before, predictions[-1])
        return list(map(Foresight, pictures, (apart <= CLEAR).tolist()))

    return paint_in_groups(rows, steps, look, progress, phase)


def _sample(
    flux: ComfyFlux,
    group: Sequence[Row],
    share: Share,
    watch: Callable[[Tensor], None] = lambda _: None,
) -> Tensor:
    """The rows' finished latents (B, 16, h, w)."""
    settings, seeds = flux.sampling, [row.seed for row in group]
    course = Course(flux.sampler, _levels(flux)[group[0].first :])
    noise = noise_for(flux.model, seeds, (CHANNELS, settings.height // 8, settings.width // 8))
    words = [flux.texts.get(row.text, lambda t=row.text: encode(flux.clip, t)) for row in group]
    told: dict[str, Any] = {
        "pooled_output": torch.cat([pooled for _, pooled in words]),
        "guidance": settings.guidance,
    }
    seen = [row.seen for row in group if row.seen is not None]
    if seen:
        told |= {"reference_latents": [torch.cat(seen)], "reference_latents_method": KEY}
    asked = [[torch.cat([states for states, _ in words]), told]]
    starts = [row.start for row in group if row.start is not None]
    start = torch.cat(starts) if starts else None
    # Without CFG nobody asks for a negative.
    return sampled(flux.model, course, noise, (asked, asked), share, seeds[0], start, watch)


def _start(flux: ComfyFlux, image: Image.Image) -> Tensor:
    """The latent (1, 16, h, w) of a picture, fitted to the canvas."""
    size = (flux.sampling.width, flux.sampling.height)
    return flux.vae.encode(to_batch([rgb(image).resize(size, Image.Resampling.BICUBIC)]))


def _levels(flux: ComfyFlux) -> Tensor:
    return schedule(flux.model, flux.scheduler, flux.sampling)


def schedule(model: ModelPatcher, scheduler: str, settings: SamplingSettings) -> Tensor:
    """Noise levels from 1 to 0, (steps + 1,)."""
    sampling = model.get_model_object("model_sampling")
    if scheduler != AS_FLUX:
        return comfy.samplers.calculate_sigmas(sampling, scheduler, settings.steps)
    times = torch.linspace(1, 1 / settings.steps, settings.steps)
    if isinstance(sampling, ModelSamplingFlux) and "model_sampling" not in model.object_patches:
        tokens = (settings.width // 16) * (settings.height // 16)
        sigmas = flux_time_shift(resolution_shift(tokens), 1.0, times)
    else:  # an artist's own shift, set by a node of ComfyUI; FLUX.1-schnell has none
        sigmas = sampling.sigma(times)
    return torch.cat([sigmas, torch.zeros(1)])


def encode(clip: Any, text: Text) -> tuple[Tensor, Tensor]:
    """T5 states (1, n, d) and pooled CLIP (1, d), n being 512 unless the CLIP takes less."""
    # Plain words: "(left)" in a reflection is no weight.
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
    """At most 512 tokens of a text, the last of which is the one that ends every text."""
    (row,) = batches
    if len(row) <= TOKENS:
        return batches
    logging.warning(
        "ReflectionFlow: the text that begins with %r is %d tokens long and FLUX takes %d: the end "
        "was cut off. Shorten the prompt or the reflection.",
        text[:40],
        len(row),
        TOKENS,
    )
    return [[*row[: TOKENS - 1], row[-1]]]
