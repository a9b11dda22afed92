"""A verifier that errs at a chosen rate: how much does a search depend on its verifier?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL.Image import Image

from ..protocols import SILENT, Progress, Verifier
from ..record import InputError, Verdict
from ..search.meter import spent_by

WRONG_ALARM = "something is missing"


class NoisyVerifier:
    """Turns the verdict of another verifier around for `error_rate` (0 to 1) of all pictures.

    A picture that passed gets a random lower score and a false alarm; one that failed passes.
    Which pictures these are depends on picture, prompt and `seed` alone, not on the order of calls.
    """

    def __init__(self, inner: Verifier, error_rate: float, seed: int = 0) -> None:
        if not 0 <= error_rate <= 1:
            raise InputError(
                f"An error rate of {error_rate} is no share. Give a number from 0 to 1."
            )
        self.inner, self.error_rate, self.seed = inner, error_rate, seed
        self.calls = inner.calls

    @property
    def spent(self) -> int | None:
        return spent_by(self.inner)

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        verdicts = self.inner.verify(prompt, images, progress)
        return [
            self._disturbed(prompt, image, verdict)
            for image, verdict in zip(images, verdicts, strict=True)
        ]

    def _disturbed(self, prompt: str, image: Image, verdict: Verdict) -> Verdict:
        rng = dice_of(f"{self.seed} {prompt}", image)
        if rng.random() >= self.error_rate:
            return verdict
        if verdict.passed:
            wrong = float(rng.random() * verdict.score)
            return replace(verdict, score=wrong, passed=False, unmet=(WRONG_ALARM,))
        return replace(verdict, score=1.0, passed=True, unmet=())


def dice_of(key: str, image: Image) -> np.random.Generator:
    """Chance that depends on a text and a picture, and on nothing else."""
    return np.random.default_rng(list(hashlib.sha256(key.encode() + image.tobytes()).digest()))
