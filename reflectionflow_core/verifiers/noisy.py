"""A verifier with a chosen error rate: how much does a search depend on its verifier?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from PIL.Image import Image

from ..protocols import SILENT, Inspector, Progress, Verifier
from ..record import InputError, Verdict
from ..search.budget import calls_so_far

FALSE_ALARM = "something is missing"
Judge = TypeVar("Judge", Verifier, Inspector)


class NoisyJudge(Generic[Judge]):
    """Another judge whose answer is reversed for `error_rate` (0 to 1) of all pictures.

    Which pictures these are depends only on picture, prompt and `seed`, not on the order of calls.
    """

    def __init__(self, inner: Judge, error_rate: float, seed: int = 0) -> None:
        if not 0 <= error_rate <= 1:
            raise InputError(f"The error rate is {error_rate}. Give a number from 0 to 1.")
        self.inner, self.error_rate, self.seed = inner, error_rate, seed
        self.calls = inner.calls

    @property
    def spent(self) -> int | None:
        return calls_so_far(self.inner)


class NoisyVerifier(NoisyJudge[Verifier]):
    """A picture that passed gets a random lower score and a false alarm; one that failed passes.

    Unjudged pictures stay unjudged.
    """

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        verdicts = self.inner.verify(prompt, images, progress)
        return [
            self._disturbed(prompt, image, verdict)
            for image, verdict in zip(images, verdicts, strict=True)
        ]

    def _disturbed(self, prompt: str, image: Image, verdict: Verdict) -> Verdict:
        if verdict.score is None:
            return verdict
        rng = rng_for(f"{self.seed} {prompt}", image)
        if rng.random() >= self.error_rate:
            return _as_sure_as_others(verdict) if verdict.passed else verdict
        if verdict.passed:
            wrong = float(rng.random() * verdict.score)
            return replace(verdict, score=wrong, passed=False, unmet=(FALSE_ALARM,), evidence=())
        return replace(verdict, score=1.0, passed=True, unmet=(), evidence=())


def _as_sure_as_others(verdict: Verdict) -> Verdict:
    """The verdict without its sureness, which would tell true passes from false ones."""
    evidence = tuple(replace(each, sureness=None) for each in verdict.evidence)
    return replace(verdict, evidence=evidence)


def rng_for(key: str, image: Image) -> np.random.Generator:
    """A random generator whose seed is a hash of a text and a picture."""
    return np.random.default_rng(list(hashlib.sha256(key.encode() + image.tobytes()).digest()))
