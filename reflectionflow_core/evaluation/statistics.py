"""Shares, means and paired differences with 95 % intervals over prompts.

Pictures of one prompt are correlated, so the bootstrap resamples prompts, never pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import binomtest, norm

RESAMPLES = 4000
SHUFFLES = 9999
LEVEL = 0.95
POWER = 0.8
WORTHWHILE = 0.05  # the smallest gain that matters


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def share(right: np.ndarray) -> Estimate:
    """The share of correct prompts (n,) bool, with Wilson's interval, also valid at 0 and 1."""
    return _wilson(float(right.mean()), int(right.sum()), len(right))


def difference(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """The share of `ours` minus that of `theirs`, (n,) bool each; paired bootstrap, fixed seed."""
    return mean(ours.astype(float) - theirs)


def mean(values: np.ndarray) -> Estimate:
    """The mean of one number per prompt (n,)."""
    return task_mean(values, np.ones(len(values)), np.zeros(len(values)))


def ratio(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """The sum of `ours` divided by the sum of `theirs`, one number per prompt each (n,)."""
    return task_mean(ours, theirs, np.zeros(len(ours)))


def mean_share(right: np.ndarray, of: np.ndarray, tasks: np.ndarray) -> Estimate:
    """The mean over tasks of the share of correct pictures: `right` of `of` per prompt, (n,).

    If all resamples agree, for example all are correct, the interval is Wilson's for n prompts.
    """
    found = task_mean(right, of, tasks)
    if found.low < found.high:
        return found
    return _wilson(found.mean, round(found.mean * len(right)), len(right))


def task_mean(parts: np.ndarray, wholes: np.ndarray, tasks: np.ndarray) -> Estimate:
    """The mean over tasks of sum(parts) / sum(wholes), both (n,) with one entry per prompt.

    The bootstrap resamples the prompts within each task.
    """
    groups = [tasks == task for task in dict.fromkeys(tasks.tolist())]
    means, draws = [], []
    resamples = _resamples(tuple(int(some.sum()) for some in groups))
    for some, drawn in zip(groups, resamples, strict=True):
        part, whole = parts[some], wholes[some]
        draws.append((drawn @ part) / (drawn @ whole))
        means.append(part.sum() / whole.sum())
    low, high = np.quantile(np.mean(draws, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(np.mean(means)), float(low), float(high))


@lru_cache(maxsize=2)  # most tables resample the same prompts
def _resamples(counts: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """How often each prompt of each task is drawn, (RESAMPLES, prompts) for each count of prompts.

    Counts are floats: they are exact, and their products many times faster than those of integers.
    """
    rng = np.random.default_rng(0)
    return tuple(
        rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)
        for count in counts
    )


def cost_ratio(ours: np.ndarray, theirs: np.ndarray, budgets: np.ndarray) -> Estimate:
    """The budget at which `ours` reaches the final success rate of `theirs`, relative to that of
    `theirs`.

    Both are (n, budgets) bool: correct within that budget. The interval is a bootstrap over
    prompts. A rate that is never reached counts as reached at the largest budget; two costs of 0
    are equal.
    """
    count = len(ours)
    (drawn,) = _resamples((count,))
    weights = np.vstack([np.ones(count), drawn])  # (1 + draws, prompts)
    our, their = weights @ ours.astype(float), weights @ theirs.astype(float)
    costs = []
    for curve in (our, their):
        reached = curve >= their[:, -1:]
        costs.append(np.where(reached.any(1), budgets[reached.argmax(1)], budgets[-1]))
    ratios = np.divide(*costs, out=np.ones(1 + RESAMPLES), where=costs[1] > 0)
    low, high = np.quantile(ratios[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(ratios[0]), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Gain:
    """The difference of two means over the same prompts, with a two-sided p value.

    `differing` of the `prompts` pairs differ. At that rate, `needed` prompts would detect a gain of
    WORTHWHILE with probability POWER.
    """

    estimate: Estimate
    p: float
    prompts: int
    differing: int
    needed: int


def gain(gained: np.ndarray, tasks: np.ndarray) -> Gain:
    """The mean over tasks of each prompt's gain (n,).

    p is from a sign-flip permutation test, which is McNemar's test for correct/wrong outcomes.
    """
    members = {task: int((tasks == task).sum()) for task in tasks.tolist()}
    weights = np.array([1 / members[task] for task in tasks.tolist()]) / len(members)
    estimate = task_mean(gained, np.ones(len(gained)), tasks)
    # The spread for a true gain of 0, which overestimates `needed`.
    spread = float(np.sqrt(np.square(gained * weights).sum() * len(gained)))
    p, differing = _sign_flips(gained * weights), int(np.count_nonzero(gained))
    return Gain(estimate, p, len(gained), differing, prompts_needed(spread))


def _sign_flips(parts: np.ndarray) -> float:
    """The share of random sign flips whose sum is at least as far from zero as that of `parts`."""
    moved = parts[parts != 0]
    if not len(moved):
        return 1.0
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (SHUFFLES, len(moved)))
    as_far = np.abs(signs @ moved) >= abs(moved.sum()) - 1e-12
    return float((as_far.sum() + 1) / (SHUFFLES + 1))


def prompts_needed(spread: float) -> int:
    """Prompts needed to detect a gain of WORTHWHILE with probability POWER.

    `spread` is the standard deviation of the gains of single prompts.
    """
    sigmas = float(norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER))
    return int(np.ceil((sigmas * spread / WORTHWHILE) ** 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-corrected p values."""
    order = np.argsort(p_values)
    raised = np.array(p_values)[order] * (len(p_values) - np.arange(len(p_values)))
    values = np.empty(len(p_values))
    values[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return values.tolist()


def _wilson(middle: float, right: int, prompts: int) -> Estimate:
    interval = binomtest(right, prompts).proportion_ci(LEVEL, method="wilson")
    return Estimate(middle, float(interval.low), float(interval.high))
