"""Painters as correctors: editing models, and image to image."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from comfy.model_patcher import ModelPatcher
from PIL import Image
from torch import Tensor

from ...reflectionflow_core.flux.noise import starting_noise
from ...reflectionflow_core.flux.painter import BatchPainter, ProgressSlice, sampled_cells
from ...reflectionflow_core.pictures import fitted
from ...reflectionflow_core.pipelines.wording import attempts_text, edit_text
from ...reflectionflow_core.protocols import Painter
from ...reflectionflow_core.record import Request, Seed
from ..shared.sockets import FluxHandle
from .edit_models import EditModel, Pair, TextPainter, check_looks
from .painter_settings import ModelPainterSettings
from .sampling import SamplerSchedule, Start, agreement_of, decoded, sampled
from .tensors import to_batch

DENOISE = 0.75  # of image to image where nothing else is asked for


@dataclass(frozen=True, eq=False)
class WithCorrector:
    """A painter whose pictures another model corrects."""

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


class SizedPainter(TextPainter, Protocol):
    """What a corrector needs of the painter of one model."""

    @property
    def model(self) -> ModelPatcher: ...

    @property
    def settings(self) -> ModelPainterSettings: ...

    @property
    def latent_shape(self) -> tuple[int, ...]: ...

    def schedule(self, steps: int) -> SamplerSchedule: ...

    def levels(self) -> list[float]: ...

    def digest(self) -> str:
        """The same for equal weights, patches and settings."""
        ...

    def sized(self, size: tuple[int, int]) -> SizedPainter:
        """The same painter for pictures of a width and height."""
        ...


@dataclass(frozen=True, eq=False)
class CorrectionRow:
    """One picture to correct: a painter of its size, its conditionings, the shape of its latent (c,
    [1,] h, w), and its start and kept part, if it does not begin with noise."""

    painter: SizedPainter
    asked: Pair
    shape: tuple[int, ...]
    seed: Seed
    start: Start | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        return (id(self),)  # texts of unequal length cannot share a batch


class ModelCorrector(BatchPainter[CorrectionRow]):
    """Corrects pictures one by one, each at its own size."""

    def __init__(self, painter: SizedPainter) -> None:
        super().__init__(painter.settings.steps)
        self.painter = painter

    def schedule(self, painter: SizedPainter, steps: int) -> SamplerSchedule:
        return painter.schedule(steps)

    def sample(
        self, rows: Sequence[CorrectionRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        (row,) = rows
        model, schedule = row.painter.model, self.schedule(row.painter, steps)
        noise = starting_noise([row.seed], row.shape, torch.float32)
        seen: deque[Tensor] = deque(maxlen=2)
        how = (model, schedule, noise, row.asked, progress, row.seed, row.start, seen.append)
        latents = sampled(*how)
        return latents, agreement_of(seen, 1)

    def decode(self, latents: Tensor) -> list[Image.Image]:
        return decoded(self.painter.vae, latents)

    def levels(self) -> list[float]:
        return self.painter.levels()

    @property
    def described(self) -> str:
        """How it corrects, in a few words."""
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """The same for the same weights and settings."""
        return f"{self.described} {self.painter.digest()}"


class EditCorrector(ModelCorrector):
    """An editing model that gets the reflection as text.

    It sees the picture to edit first, then the latest earlier attempts, as many as it takes.
    """

    def __init__(self, painter: SizedPainter, editor: EditModel) -> None:
        super().__init__(painter)
        check_looks(editor, painter.clip)
        self.editor = editor

    @property
    def described(self) -> str:
        return f"edits as {self.editor.name}"

    def row(self, request: Request) -> CorrectionRow:
        editor, room = self.editor, self.editor.most - 1
        earlier = request.context[-room:] if room else ()
        shown = [fitted(each.image) for each in (request.required_parent, *earlier)]
        pictures = [to_batch([picture]) for picture in shown]
        text = edit_text(request.prompt, request.reflection, request.broken, request.unchanged)
        text += attempts_text(earlier, editor.called)
        painter = self.painter.sized(shown[0].size)
        asked = editor.read(painter, text, pictures)
        shape, start = painter.latent_shape, None
        if request.region is not None:
            start = Start(painter.vae.encode(pictures[0]), mask_of(request, shape))
        return CorrectionRow(painter, asked, shape, request.seed, start)


class ImageToImageCorrector(ModelCorrector):
    """Adds noise to the picture and repaints it; needs no special weights.

    It gets only the prompt: a model that paints from descriptions would paint a dog for "remove the
    dog".
    """

    def __init__(self, painter: SizedPainter, denoise: float) -> None:
        super().__init__(painter)
        self.denoise = denoise

    @property
    def described(self) -> str:
        return f"image to image, denoise {self.denoise:g}"

    def schedule(self, painter: SizedPainter, steps: int) -> SamplerSchedule:
        """`steps` noise levels and 0; the first is `denoise` of the way to pure noise."""
        if painter.settings.sigmas is None:
            whole, kept = painter.schedule(int(steps / self.denoise)), steps
        else:  # given levels are used as they are, from a later one on
            whole, kept = painter.schedule(steps), max(1, round(steps * self.denoise))
        return replace(whole, sigmas=whole.sigmas[-(kept + 1) :])

    def row(self, request: Request) -> CorrectionRow:
        picture = fitted(request.required_parent.image)
        painter = self.painter.sized(picture.size)
        start = painter.vae.encode(to_batch([picture]))
        asked = painter.conditionings(request.prompt)
        shape = start.shape[1:]
        begun = Start(start, mask_of(request, shape))
        return CorrectionRow(painter, asked, shape, request.seed, begun)


def mask_of(request: Request, shape: Sequence[int]) -> Tensor | None:
    """Which latents of `shape` (..., h, w) are sampled, (1, h, w) of bool; None if all are."""
    if request.region is None:
        return None
    return sampled_cells(request.region, request.required_parent.image.size, shape)[None]
