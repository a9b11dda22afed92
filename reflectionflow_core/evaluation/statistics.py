"""Shares of right prompts, with intervals by the bootstrap over prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def estimate(values: np.ndarray) -> Estimate:
    """The mean of one value a prompt (n,); prompts are resampled with the same dice every time."""
    values = np.asarray(values, dtype=float)
    dice = np.random.default_rng(0)
    counts = dice.multinomial(len(values), np.full(len(values), 1 / len(values)), RESAMPLES)
    means = counts @ values / len(values)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values.mean()), float(low), float(high))


def difference(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """How much better `ours` is, prompt by prompt: equal prompts are compared with each other."""
    return estimate(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float))
