"""An inspector with a chosen error rate, to measure how much a staged search depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL.Image import Image

from ..protocols import SILENT, Inspector, Progress
from ..record import Inspection, Stage
from ..verifiers.noisy import FALSE_ALARM, NoisyJudge, rng_for

_REFINE = "fix this: " + FALSE_ALARM


class NoisyInspector(NoisyJudge[Inspector]):
    """An error turns an accepted picture into a false alarm, and accepts a picture with faults."""

    def inspect(
        self,
        prompt: str,
        stages: Sequence[Stage],
        images: Sequence[Image],
        progress: Progress = SILENT,
    ) -> list[Inspection]:
        found = self.inner.inspect(prompt, stages, images, progress)
        return [
            self._disturbed(prompt, image, inspection)
            for image, inspection in zip(images, found, strict=True)
        ]

    def _disturbed(self, prompt: str, image: Image, inspection: Inspection) -> Inspection:
        # Another key than the verifier's, so that their errors are independent.
        if rng_for(f"inspect {self.seed} {prompt}", image).random() >= self.error_rate:
            return inspection
        if inspection.accepted:
            return replace(inspection, accepted=False, wrong=(FALSE_ALARM,), refine=_REFINE)
        return replace(inspection, accepted=True, wrong=(), missing=(), refine="")
