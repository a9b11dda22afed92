"""Pipelines of diffusers as painters of a search; they paint the stock pipeline's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..flux.folders import first_line
from ..flux.painter import BatchPainter, ProgressSlice
from ..flux.sampling import agreement
from ..flux.settings import SamplingSettings
from ..flux.text import warn_if_cut
from ..pictures import fitted, to_rgb
from ..protocols import Painter, preview_steps
from ..record import InputError, Request, Restart, Seed
from .defaults import Defaults
from .kinds import Kind
from .watching import generator_of, noise_of, predicts, watched
from .wording import attempts_text, edit_text

STRENGTH = 0.6  # of image to image as a corrector: the share of the steps that repaint


@dataclass(frozen=True, slots=True)
class PipelineRow:
    """One picture to paint: of a text, from noise, or of pictures `shown`.

    With `shown` and `first`, from the noise that step `first` begins with.
    """

    text: str
    seed: Seed
    shown: tuple[Image.Image, ...] = ()
    first: int = 0
    number: int | None = None  # of a row that is painted by itself

    @property
    def grid(self) -> tuple[int, ...]:
        return (self.first, *([] if self.number is None else [self.number]))


class PipelinePainter(BatchPainter[PipelineRow]):
    """Any pipeline of diffusers, called as it is."""

    def __init__(
        self, pipeline: Any, kind: Kind, defaults: Defaults, sampling: SamplingSettings
    ) -> None:
        super().__init__(sampling.steps)
        self.pipeline = pipeline
        self.kind = kind
        self.defaults = defaults
        self.sampling = sampling

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Pixels (B, H, W, 3) from 0 to 1, as `sample` returns them, as pictures."""
        if not torch.isfinite(latents).all():
            raise InputError(
                f"{self.kind.name} painted values that are not numbers, which would be a black "
                "picture. Check the weights, or choose --dtype fp32."
            )
        return [
            Image.fromarray(pixels) for pixels in (latents.numpy() * 255).round().astype("uint8")
        ]

    def call(
        self, rows: Sequence[PipelineRow], steps: int, part: ProgressSlice, **more: Any
    ) -> tuple[Tensor, Tensor]:
        """The pictures of the rows (B, H, W, 3), and how far their last two predictions differ."""
        generators = {generator_of(row.seed): row.seed for row in rows}
        for row in rows:
            _warn_if_cut(self.pipeline, self.kind, row.text)
        seen = StepWatch(part, len(rows), steps)
        asked: dict[str, Any] = {
            "prompt": [row.text for row in rows],
            "num_inference_steps": steps,
            "generator": [*generators],
            "output_type": "np",
            **self._guided(len(rows)),
            **more,
        }
        part.progress.check()
        try:
            with noise_of(generators), watched(self.pipeline.scheduler, seen.after):
                painted = self.pipeline(**asked)
        except ValueError as error:
            raise InputError(
                f"{self.kind.name} refuses: {first_line(error)} Change --size, --steps or "
                "--guidance accordingly."
            ) from error
        if hidden := sum(getattr(painted, "nsfw_content_detected", None) or ()):
            part.progress.say(
                f"The safety checker of {self.kind.source} blackened {hidden} of {len(rows)}."
            )
        return torch.from_numpy(np.asarray(painted.images)), seen.apart

    def _guided(self, count: int) -> dict[str, Any]:
        knob, negative = self.defaults.knob, self.defaults.negative
        if knob is None:
            return {"guidance_scale": 1.0} if "guidance_scale" in self.kind.arguments else {}
        guided: dict[str, Any] = {knob: self.sampling.guidance}
        if negative is not None and self.sampling.guidance > 1:
            guided["negative_prompt"] = [negative] * count
        return guided


class PipelineGenerator(PipelinePainter):
    """Paints drafts; a restart is image to image from the parent's picture.

    A restart's level is the share of the steps that are painted again.
    """

    def __init__(
        self,
        pipeline: Any,
        kind: Kind,
        defaults: Defaults,
        sampling: SamplingSettings,
        repainter: PipelineRepainter | None = None,
    ) -> None:
        super().__init__(pipeline, kind, defaults, sampling)
        self.repainter = repainter

    def row(self, request: Request) -> PipelineRow:
        if not isinstance(request.seed, Restart):
            return PipelineRow(request.prompt, request.seed)
        size = (self.sampling.width, self.sampling.height)
        shown = to_rgb(request.required_parent.image).resize(size, Image.Resampling.BICUBIC)
        return PipelineRow(request.prompt, request.seed, (shown,), self.first_of(request))

    def levels(self) -> list[float]:
        return np.linspace(1, 0, self.steps + 1).tolist()

    def sample(
        self, rows: Sequence[PipelineRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        if rows[0].shown:
            assert self.repainter is not None  # without one the painter takes no restarts
            return self.repainter.repaint(rows, steps, steps - rows[0].first, progress)
        size = {"width": self.sampling.width, "height": self.sampling.height}
        return self.call(rows, steps, progress, **size)


class PipelineEditor(PipelinePainter):
    """Edits the parent as the reflection asks, one picture at a time."""

    def row(self, request: Request) -> PipelineRow:
        context = request.context if self.kind.takes_several else ()
        text = edit_text(
            request.prompt, request.reflection, request.broken, request.unchanged
        ) + attempts_text(context)
        shown = tuple(fitted(each.image) for each in (request.required_parent, *context))
        return PipelineRow(text, request.seed, shown, number=id(request))

    def sample(
        self, rows: Sequence[PipelineRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        shown = rows[0].shown
        width, height = shown[0].size
        more: dict[str, Any] = {"width": width, "height": height}
        # FLUX.1 Kontext would paint a megapixel, whatever the size of the picture.
        more |= {"max_area": width * height, "_auto_resize": False}
        more = {name: value for name, value in more.items() if name in self.kind.arguments}
        picture = list(shown) if self.kind.takes_several else shown[0]
        return self.call(rows, steps, progress, image=picture, **more)


class PipelineRepainter(PipelinePainter):
    """Image to image as a corrector.

    It gets only the prompt, since a model that paints from descriptions would paint a dog for
    "remove the dog".
    """

    def __init__(
        self, pipeline: Any, kind: Kind, defaults: Defaults, sampling: SamplingSettings
    ) -> None:
        super().__init__(pipeline, kind, defaults, sampling)
        self.steps = max(1, round(STRENGTH * sampling.steps))
        self.preview_steps = preview_steps(self.steps)

    def row(self, request: Request) -> PipelineRow:
        shown = (fitted(request.required_parent.image),)
        return PipelineRow(request.prompt, request.seed, shown, number=id(request))

    def sample(
        self, rows: Sequence[PipelineRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        schedule = max(steps, round(self.sampling.steps * steps / self.steps))
        return self.repaint(rows, schedule, steps, progress)

    def repaint(
        self, rows: Sequence[PipelineRow], schedule: int, steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        """The rows' pictures with the last `steps` of a `schedule` of so many painted again."""
        width, height = rows[0].shown[0].size
        more: dict[str, Any] = {"width": width, "height": height}
        more = {name: value for name, value in more.items() if name in self.kind.arguments}
        pictures = [row.shown[0] for row in rows]
        strength = strength_of(schedule, steps, "unet" in self.kind.index)
        return self.call(rows, schedule, progress, image=pictures, strength=strength, **more)


def strength_of(steps: int, painted: int, rounds_down: bool) -> float:
    """The strength with which image to image takes `painted` of the steps.

    Pipelines with a U-Net round the product of both down, the others up; half a millionth of a step
    keeps the errors of floating-point numbers out of that.
    """
    return min(1.0, (painted + (5e-7 if rounds_down else -5e-7)) / steps)


class StepWatch:
    """Reports each step of a call, and keeps how far the last two predictions lie apart."""

    def __init__(self, part: ProgressSlice, count: int, steps: int) -> None:
        self.part, self.count, self.steps, self.done = part, count, steps, 0
        self.clean: Tensor | None = None
        self.apart = agreement(None, torch.zeros(count, 1, 1))

    def after(self, clean: Tensor | None) -> None:
        if clean is not None:
            rows = clean.reshape(self.count, 1, -1)
            self.apart, self.clean = agreement(self.clean, rows), rows
        self.done = min(self.done + 1, self.steps)  # some schedulers begin with half steps
        self.part.report(self.done, None)
        self.part.progress.check()


class PaintOnly:
    """A painter without its further abilities, for pipelines that lack what these need."""

    def __init__(self, painter: PipelinePainter) -> None:
        self.steps, self.paint = painter.steps, painter.paint


class PreviewOnly(PaintOnly):
    """A painter with previews and no restarts."""

    def __init__(self, painter: PipelinePainter) -> None:
        super().__init__(painter)
        self.preview_steps, self.preview = painter.preview_steps, painter.preview


def able(painter: PipelinePainter, scheduler: Any, restarts: bool) -> Painter:
    """The painter, with only those abilities that its pipeline has."""
    if not predicts(scheduler):
        return PaintOnly(painter)
    return painter if restarts else PreviewOnly(painter)


def _warn_if_cut(pipeline: Any, kind: Kind, text: str) -> None:
    """Warns of a text that is longer than the pipeline's most patient tokenizer reads."""
    tokenizers = [
        getattr(part, "tokenizer", part)
        for name, part in sorted(pipeline.components.items())
        if name.startswith("tokenizer") and part is not None
    ]
    if tokenizers:
        own = tokenizers[-1].model_max_length
        limit = min(own, kind.arguments.get("max_sequence_length") or own)
        warn_if_cut(tokenizers[-1], text, limit, kind.name)
