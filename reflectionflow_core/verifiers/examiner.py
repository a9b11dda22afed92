"""GenEval's examination of pictures: a detector's finds, a reader of colours, and the rules."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from .colours import ColourReader
from .detectors import Detector
from .geneval import Colouring, Detection, Limits, Task, examine


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
        names = list(dict.fromkeys(need.name for need in (*task.include, *task.exclude)))
        found = self.detector.detect(images, names, progress)
        return [
            examine(task, things, self._colouring(image), self.limits)
            for image, things in zip(images, found, strict=True)
        ]

    def _colouring(self, image: Image) -> Colouring:
        def colouring(things: Sequence[Detection]) -> list[str]:
            if self.colours is None:
                raise InputError(
                    "The prompt asks for a colour, and nobody reads colours. Give a CLIP for them."
                )
            return self.colours.colours(image, things)

        return colouring
