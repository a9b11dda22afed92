"""GenEval's examination of pictures: a detector's finds, a reader of colours, and the rules."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from .colours import ColourReader
from .detectors import Detector
from .rules import Colouring, Detection, Limits, Task, examine


class GenEvalExaminer:
    """Judges pictures by a task. Numbers made with a detector of transformers are "GenEval's
    protocol with another detector", never official ones.
    """

    def __init__(
        self, detector: Detector, colours: ColourReader | None, limits: Limits | None = None
    ) -> None:
        self.detector, self.colours = detector, colours
        self.limits = limits or detector.limits

    def examine(
        self, task: Task, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        """A verdict for each picture; raises InputError where a colour is asked and none read."""
        found = self.finds(task, images, progress)
        return [
            self.judge(task, image, things) for image, things in zip(images, found, strict=True)
        ]

    def finds(
        self, task: Task, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        """All that the detector sees of what a task names, however unsure it is."""
        names = list(dict.fromkeys(need.name for need in (*task.include, *task.exclude)))
        return self.detector.detect(images, names, progress)

    def judge(self, task: Task, image: Image, things: Sequence[Detection]) -> Verdict:
        """The verdict on a picture by what was found in it."""
        return examine(task, things, self._colouring(image), self.limits)

    def _colouring(self, image: Image) -> Colouring:
        def colouring(things: Sequence[Detection]) -> list[str]:
            if self.colours is None:
                raise InputError(
                    "The prompt asks for a colour, and nobody reads colours. Give a CLIP for them."
                )
            return self.colours.colours(image, things)

        return colouring
