"""Other models as correctors: editing models, and image to image."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_base
import comfy.samplers
import node_helpers
import torch
from comfy.model_patcher import ModelPatcher
from PIL import Image
from torch import Tensor

from ...reflectionflow_core.flux.painter import ProgressSlice
from ...reflectionflow_core.pictures import fitted
from ...reflectionflow_core.pipelines.wording import attempts_text, edit_text
from ...reflectionflow_core.protocols import SILENT, Painter, Progress
from ...reflectionflow_core.record import InputError, Request, Seed
from ..shared.sockets import FluxHandle
from .digests import weights_digest
from .sampling import Conditioning, SamplerSchedule, decoded, noise_for, sampled
from .tensors import to_batch

EDITING_MODELS = ("Flux", "Flux2", "QwenImage", "Omnigen2")  # take reference pictures in ComfyUI
ENCODER_PIXELS = 384 * 384  # of the picture that Qwen's text encoder sees


@dataclass(frozen=True, eq=False)
class ModelSampler:
    """A model of any family that ComfyUI has loaded, and its sampling settings."""

    model: ModelPatcher = field(repr=False)
    clip: Any = field(repr=False)
    vae: Any = field(repr=False)
    steps: int
    cfg: float
    guidance: float
    sampler: str
    scheduler: str

    def conditioning(self, text: str, **extra: Any) -> Conditioning:
        conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text, **extra))
        return node_helpers.conditioning_set_values(conditioning, {"guidance": self.guidance})

    def schedule(self, denoise: float = 1.0) -> SamplerSchedule:
        """`steps` levels of noise and 0, the first as far from a clean picture as `denoise`."""
        sampling = self.model.get_model_object("model_sampling")
        count = int(self.steps / denoise)
        whole = comfy.samplers.calculate_sigmas(sampling, self.scheduler, count)
        return SamplerSchedule(self.sampler, whole[-(self.steps + 1) :], self.cfg)

    def paint(
        self,
        schedule: SamplerSchedule,
        shape: Sequence[int],
        conditioning: tuple[Conditioning, Conditioning],
        part: ProgressSlice,
        seed: Seed,
        start: Tensor | None = None,
    ) -> Image.Image:
        """A picture of a latent's shape (channels, height, width); see `sampled`."""
        noise = noise_for(self.model, [seed], shape)
        latents = sampled(self.model, schedule, noise, conditioning, part, seed, start)
        (picture,) = decoded(self.vae, latents)
        return picture

    def digest(self) -> str:
        settings = (self.steps, self.cfg, self.guidance, self.sampler, self.scheduler)
        return f"{weights_digest(self.model)} {settings}"


@dataclass(frozen=True, eq=False)
class WithCorrector:
    """A FLUX whose pictures another model corrects."""

    flux: FluxHandle
    corrector: Painter
    corrector_digest: str

    @property
    def chosen(self) -> Mapping[str, Any]:
        return self.flux.chosen

    @property
    def identity(self) -> Mapping[str, str]:
        digest = hashlib.sha256(self.corrector_digest.encode()).hexdigest()
        return {**self.flux.identity, "lora": digest}

    @property
    def generator(self) -> Painter:
        return self.flux.generator

    def with_corrector(self, path: str) -> FluxHandle:
        return self.flux.with_corrector(path)

    def with_sampling(self, **changes: Any) -> FluxHandle:
        return replace(self, flux=self.flux.with_sampling(**changes))


class EditCorrector:
    """An editing model (FLUX.1 Kontext, FLUX.2, Qwen-Image-Edit) that gets the reflection as text.

    It sees the picture to edit first, then earlier attempts.
    """

    def __init__(self, sampler: ModelSampler) -> None:
        known = (getattr(comfy.model_base, name, None) for name in EDITING_MODELS)
        kinds = tuple(filter(None, known))
        if not isinstance(sampler.model.model, kinds):
            raise InputError(
                f"This MODEL ({type(sampler.model.model).__name__}) takes no picture, so it cannot "
                "edit one. Load FLUX.1 Kontext, FLUX.2 or Qwen-Image-Edit, or use Image to Image "
                "Corrector."
            )
        self.sampler = sampler
        self.steps = sampler.steps

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image.Image]:
        return _one_by_one(requests, self.steps, self._edit, progress)

    def _edit(self, request: Request, part: ProgressSlice) -> Image.Image:
        shown = [fitted(each.image) for each in (request.required_parent, *request.context)]
        pictures = [to_batch([picture]) for picture in shown]
        latents = [self.sampler.vae.encode(picture) for picture in pictures]
        asked = edit_text(request.prompt, request.reflection) + attempts_text(request.context)
        both = self._read(asked, pictures, latents), self._read("", pictures, latents)
        shape, schedule = latents[0].shape[1:], self.sampler.schedule()
        return self.sampler.paint(schedule, shape, both, part, request.seed)

    def _read(self, text: str, pictures: list[Tensor], latents: list[Tensor]) -> Conditioning:
        encoder_sees = isinstance(self.sampler.model.model, comfy.model_base.QwenImage)
        extra = {"images": list(map(for_text_encoder, pictures))} if encoder_sees else {}
        conditioning = self.sampler.conditioning(text, **extra)
        return node_helpers.conditioning_set_values(conditioning, {"reference_latents": latents})


class ImageToImageCorrector:
    """Adds noise to the picture and paints over it; needs no special weights.

    It gets only the prompt: a model that paints from descriptions would paint a dog for "remove the
    dog".
    """

    def __init__(self, sampler: ModelSampler, denoise: float) -> None:
        self.sampler, self.denoise = sampler, denoise
        self.steps = sampler.steps

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image.Image]:
        return _one_by_one(requests, self.steps, self._repaint, progress)

    def _repaint(self, request: Request, part: ProgressSlice) -> Image.Image:
        start = self.sampler.vae.encode(to_batch([fitted(request.required_parent.image)]))
        conditioning = self.sampler.conditioning(request.prompt), self.sampler.conditioning("")
        shape, schedule = start.shape[1:], self.sampler.schedule(self.denoise)
        return self.sampler.paint(schedule, shape, conditioning, part, request.seed, start)


def for_text_encoder(picture: Tensor) -> Tensor:
    """An IMAGE for Qwen's text encoder, about 384 x 384 pixels."""
    height, width = picture.shape[1:3]
    scale = math.sqrt(ENCODER_PIXELS / (height * width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    channels = picture.movedim(-1, 1)
    return torch.nn.functional.interpolate(channels, size, mode="area").movedim(1, -1)


def _one_by_one(
    requests: Sequence[Request],
    steps: int,
    paint: Callable[[Request, ProgressSlice], Image.Image],
    progress: Progress,
) -> list[Image.Image]:
    # Texts of unequal length cannot share a batch, and one picture fills a GPU.
    total = len(requests) * steps
    return [
        paint(request, ProgressSlice(progress, "correct", index * steps, total))
        for index, request in enumerate(requests)
    ]
