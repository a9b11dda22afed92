"""Any MODEL, CLIP and VAE that ComfyUI samples pictures with, behind the pack's FLUX socket.

A picture is the one that ComfyUI's own nodes make of the same seed, text and settings: noise in
float32 as KSampler draws it, texts as CLIP Text Encode reads them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import comfy.model_sampling
import comfy.samplers
import node_helpers
import torch
from comfy.model_patcher import ModelPatcher
from PIL import Image
from torch import Tensor

from ...reflectionflow_core.flux.cache import Cache
from ...reflectionflow_core.flux.noise import starting_noise
from ...reflectionflow_core.flux.painter import BatchPainter, ProgressSlice
from ...reflectionflow_core.pictures import to_rgb
from ...reflectionflow_core.protocols import Painter
from ...reflectionflow_core.record import InputError, Request, Restart, Seed
from ..shared.sockets import FluxHandle
from .digests import described, models_digest
from .edit_models import EditModel
from .editors import DENOISE, EditCorrector, ImageToImageCorrector, ModelCorrector
from .families import AS_TEMPLATE, FLUX2_SCHEDULE, Family, text_width
from .painter_checks import check_models, check_settings, check_size
from .painter_settings import ModelPainterSettings, TemplateOverrides
from .sampling import (
    Conditioning,
    SamplerSchedule,
    Start,
    agreement_of,
    decoded,
    is_independent,
    sampled,
)
from .tensors import to_batch


@dataclass(frozen=True, eq=False)
class ModelPainter:
    """A FluxHandle of any family; `model_painter` makes it.

    `model` has every patch, including the family's shift. Changed copies share weights and encoded
    texts.
    """

    model: ModelPatcher = field(repr=False)
    clip: Any = field(repr=False)
    vae: Any = field(repr=False)
    family: Family
    settings: ModelPainterSettings
    texts: Cache[Conditioning] = field(default_factory=lambda: Cache(16), repr=False)
    editor: EditModel | None = None  # how it corrects; None: image to image with `denoise`
    denoise: float = DENOISE

    @property
    def chosen(self) -> Mapping[str, Any]:
        settings = self.settings
        return {
            "model": f"{self.family.name} in ComfyUI",
            "lora": None,
            "size": (settings.width, settings.height),
            "steps": settings.steps,
            "guidance": settings.guidance,
        }

    @property
    def described(self) -> str:
        """The family and its settings in one line."""
        settings = self.settings
        values = [
            f"{settings.steps} steps",
            f"cfg {settings.cfg:g}",
            *([] if settings.guidance is None else [f"guidance {settings.guidance:g}"]),
            "custom sampler" if settings.custom_sampler is not None else settings.sampler,
            "own sigmas" if settings.sigmas is not None else settings.scheduler,
            f"{settings.width} x {settings.height}",
        ]
        corrects = self.corrector.described
        return f"{self.family.name}: {', '.join(values)}. Corrections: {corrects}."

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The same for the same three models, as other nodes have changed them, and settings."""
        models = models_digest(self.model, self.clip, self.vae)
        sampler = described(self.settings.custom_sampler, self.model)
        levels = self.schedule(self.settings.steps).sigmas.tolist()
        plain = replace(self.settings, custom_sampler=None, sigmas=None)
        text = f"{models} {plain} {sampler} {levels}"
        corrects = self.editor.name if self.editor else self.denoise
        texts = {"model": text, "lora": f"corrects: {corrects}"}
        return {key: hashlib.sha256(text.encode()).hexdigest() for key, text in texts.items()}

    def digest(self) -> str:
        return self.identity["model"]

    @property
    def generator(self) -> Painter:
        return ModelGenerator(self)

    @property
    def corrector(self) -> ModelCorrector:
        """The painter itself, by editing or else by image to image."""
        if self.editor is not None:
            return EditCorrector(self, self.editor)
        return ImageToImageCorrector(self, self.denoise)

    def with_corrector(self, path: str) -> FluxHandle:
        raise InputError(
            f"The corrector LoRA {path} is made for FLUX.1, and this MODEL is {self.family.name}. "
            "Use Edit Model as Corrector or Image to Image Corrector."
        )

    def with_sampling(self, **changes: Any) -> ModelPainter:
        """With other `width`, `height`, `steps` or `guidance`; what is None stays."""
        known = {f: changes[f] for f in ("width", "height", "steps", "guidance") if changes.get(f)}
        if "guidance" in known and self.family.guidance is None:
            raise InputError(
                f"{self.family.name} has no guidance. Leave it at 0 in FLUX Sampling, and set cfg "
                "where the painter is made."
            )
        if changes.get("condition_size") or changes.get("condition_fit", "squash") != "squash":
            raise InputError(
                "condition_size and condition_fit are for FLUX.1's corrector, and this MODEL is "
                f"{self.family.name}. Leave them at 0 and squash in FLUX Sampling."
            )
        if "steps" in known and self.settings.sigmas is not None:
            raise InputError("The steps come from the SIGMAS. Leave them at 0 in FLUX Sampling.")
        settings = replace(self.settings, **known)
        check_size((settings.width, settings.height), self.family)
        return replace(self, settings=settings)

    def conditioning(self, text: str) -> Conditioning:
        """As CLIP Text Encode makes it; raises InputError if the CLIP is another family's."""
        found = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(self._full(text)))
        self._check_fits(found)
        return found

    def conditionings(self, text: str) -> tuple[Conditioning, Conditioning]:
        """Positive, with its guidance, and negative; without CFG they are the same."""
        positive = self.texts.get(text, lambda: self.conditioning(text))
        blank = self.negative_text
        if blank is None:
            negative = positive
        elif self.family.zeroed and not blank:
            negative = zeroed(positive)
        else:
            negative = self.texts.get(f"\0{blank}", lambda: self.conditioning(blank))
        return self.guided(positive), negative

    def guided(self, positive: Conditioning) -> Conditioning:
        """With the guidance of the settings; raises InputError if the CLIP is another family's."""
        self._check_fits(positive)
        if self.settings.guidance is None:
            return positive
        values = {"guidance": self.settings.guidance}
        return node_helpers.conditioning_set_values(positive, values)

    @property
    def negative_text(self) -> str | None:
        return self.settings.negative if self.uses_negative else None

    def sized(self, size: tuple[int, int]) -> ModelPainter:
        width, height = size
        return replace(self, settings=replace(self.settings, width=width, height=height))

    @property
    def uses_negative(self) -> bool:
        forced = self.model.model_options.get("disable_cfg1_optimization", False)
        return forced or self.settings.cfg != 1.0

    def schedule(self, steps: int) -> SamplerSchedule:
        """That many steps from noise to nothing."""
        return SamplerSchedule(self.sampler, self._sigmas(steps), self.settings.cfg)

    @property
    def sampler(self) -> Any:
        """A SAMPLER, or the name of one."""
        return self.settings.custom_sampler or self.settings.sampler

    def levels(self) -> list[float]:
        """Noise levels from 1 to 0 for flow models; otherwise the share of noise, s / (1 + s)."""
        sigmas = self.schedule(self.settings.steps).sigmas.float().cpu()
        sampling = self.model.get_model_object("model_sampling")
        flow = isinstance(sampling, comfy.model_sampling.CONST)
        return (sigmas if flow else sigmas / (1 + sigmas)).tolist()

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Channels, one frame where the family's latents have frames, height and width."""
        space = self.model.get_model_object("latent_format")
        side = self.family.pixels
        frames = (1,) if space.latent_dimensions == 3 else ()
        size = (self.settings.height // side, self.settings.width // side)
        return (space.latent_channels, *frames, *size)

    def _sigmas(self, steps: int) -> Tensor:
        settings = self.settings
        if settings.sigmas is not None:
            places = torch.linspace(0, len(settings.sigmas) - 1, steps + 1).round().long()
            return settings.sigmas[places]
        if settings.scheduler == FLUX2_SCHEDULE:
            return flux2_sigmas(steps, settings.width, settings.height)
        how = (self.model.load_device, settings.sampler, settings.scheduler)
        return comfy.samplers.KSampler(self.model, steps, *how, 1.0).sigmas

    def _full(self, text: str) -> str:
        if not self.family.system_prompt:
            return text
        from comfy_extras.nodes_lumina2 import CLIPTextEncodeLumina2

        system = CLIPTextEncodeLumina2.SYSTEM_PROMPT[self.family.system_prompt]
        return f"{system} <Prompt Start> {text}"

    def _check_fits(self, conditioning: Conditioning) -> None:
        states, values = conditioning[0]
        pooled = values.get("pooled_output")
        pairs = [(text_width(self.model, self.family.width_keys), states)]
        if self.family.pooled_key:
            pairs.append((text_width(self.model, (self.family.pooled_key,)), pooled))
        for wanted, got in pairs:
            width = 0 if got is None else got.shape[-1]
            if wanted is not None and width != wanted:
                raise InputError(
                    f"This CLIP belongs to another model: it describes a text with {width} numbers "
                    f"where {self.family.name} takes {wanted}. Load {self.family.clip}."
                )


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A picture to paint; `start`: latent (1, c, [1,] h, w) to repaint from step `first` on. With
    `alone` it shares no batch."""

    text: str
    seed: Seed
    start: Tensor | None = None
    first: int = 0
    alone: bool = False

    @property
    def grid(self) -> tuple[int, ...]:
        # Texts differ in length, so that only rows of one text share a batch.
        own = (id(self),) if self.alone else ()
        return (self.first, zlib.crc32(self.text.encode()), *own)


class ModelGenerator(BatchPainter[PromptRow]):
    """Paints drafts, and pictures that restart from a level of noise."""

    def __init__(self, painter: ModelPainter) -> None:
        super().__init__(painter.settings.steps)
        self.painter = painter

    def row(self, request: Request) -> PromptRow:
        start = None
        if isinstance(request.seed, Restart):
            start = self._start(request.required_parent.image)
        self.painter.conditionings(request.prompt)  # refuses another model's CLIP by now
        alone = not is_independent(self.painter.sampler)
        return PromptRow(request.prompt, request.seed, start, self.first_of(request), alone)

    def sample(
        self, rows: Sequence[PromptRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        painter, first = self.painter, rows[0].first
        seeds = [row.seed for row in rows]
        noise = starting_noise(seeds, painter.latent_shape, torch.float32)
        whole = painter.schedule(steps)
        schedule = replace(whole, sigmas=whole.sigmas[first:])
        asked = painter.conditionings(rows[0].text)
        starts = [row.start for row in rows if row.start is not None]
        start = Start(torch.cat(starts)) if starts else None
        seen: deque[Tensor] = deque(maxlen=2)
        latents = sampled(
            painter.model, schedule, noise, asked, progress, seeds[0], start, seen.append
        )
        return latents, agreement_of(seen, len(rows))

    def decode(self, latents: Tensor) -> list[Image.Image]:
        return decoded(self.painter.vae, latents)

    def levels(self) -> list[float]:
        return self.painter.levels()

    def _start(self, image: Image.Image) -> Tensor:
        size = (self.painter.settings.width, self.painter.settings.height)
        pixels = to_batch([to_rgb(image).resize(size, Image.Resampling.BICUBIC)])
        return self.painter.vae.encode(pixels)


def model_painter(
    models: tuple[ModelPatcher, Any, Any],
    size: tuple[int, int],
    asked: TemplateOverrides,
    family: Family,
) -> ModelPainter:
    """A painter from MODEL, CLIP and VAE.

    Raises InputError for models that do not fit together, and for settings without effect.
    """
    model, clip, vae = models
    check_models(model, vae, family)
    family = replace(family, pixels=family.pixels or vae.spacial_compression_decode())
    check_size(size, family)
    check_settings(model, asked, family)
    sigmas = asked.sigmas
    settings = ModelPainterSettings(
        *size,
        steps=(asked.steps or family.steps) if sigmas is None else len(sigmas) - 1,
        cfg=asked.cfg or family.cfg,
        sampler=family.sampler if asked.sampler == AS_TEMPLATE else asked.sampler,
        scheduler=family.scheduler if asked.scheduler == AS_TEMPLATE else asked.scheduler,
        guidance=asked.guidance or family.guidance,
        negative=asked.negative,
        custom_sampler=asked.custom_sampler,
        sigmas=sigmas,
    )
    return ModelPainter(shifted(model, family, asked.shift), clip, vae, family, settings)


def shifted(model: ModelPatcher, family: Family, asked: float) -> ModelPatcher:
    """The MODEL with the requested shift, or the family's unless an earlier node has set one."""
    own = "model_sampling" in model.object_patches
    shift = asked or (None if own else family.shift)
    if shift is None:
        return model
    kind = comfy.model_sampling
    base = kind.ModelSamplingFlux if family.shift_node == "Flux" else kind.ModelSamplingDiscreteFlow

    class ShiftedSampling(base, kind.CONST):
        pass

    sampling = ShiftedSampling(model.model.model_config)
    multiplier = {"AuraFlow": {"multiplier": 1.0}, "SD3": {"multiplier": 1000}}
    sampling.set_parameters(shift=shift, **multiplier.get(family.shift_node, {}))
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    return clone


def flux2_sigmas(steps: int, width: int, height: int) -> Tensor:
    """As ComfyUI's Flux2Scheduler."""
    from comfy_extras.nodes_flux import get_schedule

    return get_schedule(steps, round(width * height / 256))


def zeroed(conditioning: Conditioning) -> Conditioning:
    """As ConditioningZeroOut makes it."""
    kinds = ("pooled_output", "conditioning_lyrics", "conditioning_scale")

    def zeros(values: Mapping[str, Any]) -> dict[str, Any]:
        blank = {k: torch.zeros_like(values[k]) for k in kinds if values.get(k) is not None}
        return {**values, **blank}

    return [[torch.zeros_like(states), zeros(values)] for states, values in conditioning]
