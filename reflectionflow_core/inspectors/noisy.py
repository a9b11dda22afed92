"""An inspector that errs at a chosen rate, as NoisyVerifier does: how much hangs on inspection?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL.Image import Image

from ..protocols import SILENT, Inspector, Progress
from ..record import Inspection, Stage
from ..search.meter import spent_by
from ..verifiers.noisy import WRONG_ALARM, dice_of

_REFINE = "fix this: " + WRONG_ALARM


class NoisyInspector:
    """Turns `error_rate` (0 to 1) of another inspector's answers around.

    An accepted picture gets a false alarm; one with faults is accepted. Which pictures these are
    depends on picture, prompt and `seed` alone.
    """

    def __init__(self, inner: Inspector, error_rate: float, seed: int = 0) -> None:
        self.inner, self.error_rate, self.seed = inner, error_rate, seed
        self.calls = inner.calls

    @property
    def spent(self) -> int | None:
        return spent_by(self.inner)

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
        # Another throw than the verifier's: two judges seldom err about the same picture.
        if dice_of(f"inspect {self.seed} {prompt}", image).random() >= self.error_rate:
            return inspection
        if inspection.accepted:
            return replace(inspection, accepted=False, wrong=(WRONG_ALARM,), refine=_REFINE)
        return replace(inspection, accepted=True, wrong=(), missing=(), refine="")
