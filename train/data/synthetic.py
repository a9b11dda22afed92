"""A painter and a judge without a model, for benchmarks and dry runs; both use hashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from reflectionflow_core.pictures import to_rgb
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import Request, Seed, Verdict
from train.data.records import seed_of

SIDE = 16  # pixels
RIGHT = 0.5  # share of passing pictures


class SyntheticGenerator:
    """Noise that depends on prompt and seed."""

    steps = 1

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image.Image]:
        del progress  # takes microseconds
        return [_noise(request.prompt, request.seed) for request in requests]


class SyntheticVerifier:
    """A score that depends on prompt and pixels."""

    calls = 0

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        del progress  # takes microseconds
        return [_verdict(prompt, image) for image in images]


def _noise(prompt: str, seed: Seed) -> Image.Image:
    rng = np.random.default_rng(seed_of(prompt, seed))
    return Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def _verdict(prompt: str, image: Image.Image) -> Verdict:
    score = seed_of(prompt, to_rgb(image).tobytes()) / 2**32
    passed = score >= 1 - RIGHT
    return Verdict(score, passed, unmet=() if passed else ("it is not as asked",))
