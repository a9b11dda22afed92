"""Shares of right prompts and paired differences between them, with 95 % intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def share(right: np.ndarray) -> Estimate:
    """The share of right prompts (n,) bool; Wilson's interval, which is honest at 0 and 1 too."""
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(LEVEL, method="wilson")
    return Estimate(float(right.mean()), float(interval.low), float(interval.high))


def difference(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """How much larger the share of `ours` is, both (n,) bool: a bootstrap over prompts, so equal
    prompts are compared with each other, with the same dice every time."""
    gained = ours.astype(float) - theirs
    dice = np.random.default_rng(0)
    counts = dice.multinomial(len(gained), np.full(len(gained), 1 / len(gained)), RESAMPLES)
    low, high = np.quantile(counts @ gained / len(gained), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(gained.mean()), float(low), float(high))
