"""Judges pictures with a detector, a colour reader and GenEval's rules."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from .colours import ColourReader
from .detectors import Detector
from .rules import Detection, DetectionLimits, Task, examine


class Examiner:
    """Judges pictures by a task.

    With a transformers detector the results are "GenEval's protocol with another detector", not
    official ones.
    """

    def __init__(
        self,
        detector: Detector,
        colours: ColourReader | None,
        limits: DetectionLimits | None = None,
    ) -> None:
        self.detector, self.colours = detector, colours
        self.limits = limits or detector.limits

    def examine(
        self, task: Task, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        """One verdict per picture; InputError for a colour without a colour reader."""
        found = self.detect(task, images, progress)
        return [
            self.judge(task, image, things) for image, things in zip(images, found, strict=True)
        ]

    def detect(
        self, task: Task, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        """All detections of the objects named by a task, with any score."""
        names = list(dict.fromkeys(need.name for need in (*task.include, *task.exclude)))
        return self.detector.detect(images, names, progress)

    def judge(self, task: Task, image: Image, things: Sequence[Detection]) -> Verdict:
        """The verdict on a picture from its detections."""
        return examine(task, things, partial(self.read_colours, image), self.limits)

    def read_colours(self, image: Image, things: Sequence[Detection]) -> list[str]:
        """The colour of each object; InputError without a colour reader."""
        if self.colours is None:
            raise InputError(
                "The prompt asks for a colour, and no colour reader is given. Give a CLIP."
            )
        return self.colours.colours(image, things)
