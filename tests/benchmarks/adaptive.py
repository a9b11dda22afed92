"""Budgets that adapt against the fixed schedule, on the miniature's held-out prompts.

    python tests/benchmarks/adaptive.py [--prompts 180] [--seed 0] [--error 0.1]

All searches of a prompt begin with the same noises, and what two of them paint alike is painted
once. Success is that the best picture is right in truth; `error` is the share of verdicts that the
searches' verifier turns around. A search that stops at a pass ends with the picture that it would
have ended with: none can outrank a pass. So the fixed schedule that never stops has its success,
and its full number of pictures. Intervals are 95 %, bootstraps over prompts. A portfolio is played
over the recorded searches, which is what it paints, since a search begins as any longer one does.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from keeping import keep

from reflectionflow_core.catalog import ActorChoice, build_actors
from reflectionflow_core.evaluation.questions import held_out
from reflectionflow_core.evaluation.statistics import Estimate, difference, share
from reflectionflow_core.miniature.prompts import FAMILIES
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.protocols import Actors
from reflectionflow_core.record import Budget, Candidate, History, SearchSettings
from reflectionflow_core.search import portfolio, search
from reflectionflow_core.search.portfolio import Standing, expected_gain
from reflectionflow_core.search.seeds import shuffled
from reflectionflow_core.verifiers.noisy import NoisyVerifier

FIXED = "fixed 2x16"
MOST = 32  # pictures of the fixed schedule, 2 x 16
SHARES = (1, 1.5, 2, 3, 4, 8)  # pictures a prompt, of a budget that all share
RESAMPLES = 4000
ONE_BY_ONE = SearchSettings(depth=MOST, stop="passed", budget=Budget(images=MOST))
ARMS = {
    "fixed 2x16": replace(ONE_BY_ONE, depth=MOST // 2 - 1),
    "adaptive": replace(ONE_BY_ONE, strategy="adaptive"),
    "adaptive, one chain": replace(ONE_BY_ONE, strategy="adaptive", width=1),
    "adaptive, restart": replace(ONE_BY_ONE, strategy="adaptive", policy="restart"),
    "adaptive, steady": replace(ONE_BY_ONE, strategy="adaptive", policy="steady"),
}


class Remembered:
    """A generator or a corrector that paints nothing twice."""

    def __init__(self, paint: Callable[..., list], steps: int) -> None:
        self.paint, self.steps, self.known = paint, steps, {}

    def generate(self, *asked: Any) -> list:
        return [self._one(*one) for one in zip(*asked[:-1], strict=True)]

    correct = generate

    def _one(self, *one: Any) -> Any:
        key = tuple(part.tobytes() if hasattr(part, "tobytes") else part for part in one)
        if key not in self.known:
            (self.known[key],) = self.paint(*([part] for part in one))
        return self.known[key]


class Recorded:
    """The search of one prompt, played again from its record, round by round."""

    def __init__(self, history: History) -> None:
        self.whole, self.seen = list(history), 0
        self.ends = np.cumsum([len(candidates) for candidates in history.rounds])

    @property
    def history(self) -> History:
        return History((tuple(self.whole[: self.seen]),))

    @property
    def standing(self) -> Standing:
        cost = replace(self.history.cost, images=self.seen)
        return Standing(expected_gain(self.history), cost, under_way=False)

    def play(self, budget: Budget) -> Iterator[History]:
        assert budget.images is not None
        end = next((int(end) for end in self.ends if end > self.seen), self.seen)
        while self.seen < min(end, budget.images):
            self.seen += 1
            yield self.history


def searched(prompt: str, seed: int, actors: Actors) -> dict[str, History]:
    """The whole search of every arm; what they have in common is painted once."""
    painter, mender = actors.generator, actors.corrector
    assert mender is not None
    memory = replace(
        actors,
        generator=Remembered(painter.generate, painter.steps),
        corrector=Remembered(mender.correct, mender.steps),
    )
    return {
        arm: deque(search(prompt, replace(settings, seed=seed), memory), maxlen=1)[0]
        for arm, settings in ARMS.items()
    }


def success(prompt: str, pictures: Sequence[Candidate]) -> bool:
    """Whether the best picture is right in truth; nothing painted is not."""
    if not pictures:
        return False
    best = max(pictures, key=lambda candidate: candidate.score)
    (verdict,) = ExactVerifier().verify(prompt, [best.image])
    return bool(verdict.passed)


def mean(values: np.ndarray) -> Estimate:
    """The mean of numbers (n,), with a bootstrap's interval."""
    counts = np.random.default_rng(0).multinomial(
        len(values), np.full(len(values), 1 / len(values)), RESAMPLES
    )
    low, high = np.quantile(counts @ values / len(values), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def by_arm(prompts: Sequence[str], found: Sequence[Mapping[str, History]]) -> dict[str, str]:
    """Pictures and success of every arm, and its differences from the fixed schedule."""
    told = {}
    pictures = {arm: np.array([len(each[arm]) for each in found]) for arm in ARMS}
    right = {
        arm: np.array([success(p, list(each[arm])) for p, each in zip(prompts, found, strict=True)])
        for arm in ARMS
    }
    for arm in ARMS:
        told[f"{arm}: pictures, ending at a pass"] = str(mean(pictures[arm]))
        told[f"{arm}: right"] = str(share(right[arm]))
        if arm != FIXED:
            told[f"{arm}: right minus {FIXED}"] = str(difference(right[arm], right[FIXED]))
            less = mean(pictures[arm] - pictures[FIXED])
            told[f"{arm}: pictures minus {FIXED} ending at a pass"] = str(less)
    firsts = np.array(
        [success(p, [next(iter(e[FIXED]))]) for p, e in zip(prompts, found, strict=True)]
    )
    told["the first picture: right"] = str(share(firsts))
    return told


def by_total(prompts: Sequence[str], found: Sequence[Mapping[str, History]]) -> dict[str, str]:
    """A portfolio against equal shares for all prompts, where what a pass leaves is lost."""
    told = {}
    for each_share in SHARES:
        total = round(each_share * len(prompts))
        alone = equal_shares(prompts, [each[FIXED] for each in found], total)
        told[f"{FIXED}, {each_share:g} pictures a prompt: right"] = str(share(alone))
        for arm in (FIXED, "adaptive"):
            jobs = [Recorded(each[arm]) for each in found]
            deque(portfolio(jobs, Budget(images=total)), maxlen=0)
            ours = np.array(
                [success(p, list(job.history)) for p, job in zip(prompts, jobs, strict=True)]
            )
            name = f"portfolio of {arm}, {each_share:g} pictures a prompt"
            told[f"{name}: right"] = str(share(ours))
            told[f"{name}: minus equal shares"] = str(difference(ours, alone))
            told[f"{name}: spent"] = f"{sum(job.seen for job in jobs)} of {total}"
    return told


def equal_shares(prompts: Sequence[str], histories: Sequence[History], total: int) -> np.ndarray:
    """Success of searches that get the same number of pictures; the first ones get what is over."""
    each, over = divmod(total, len(prompts))
    return np.array(
        [
            success(prompt, list(history)[: each + (i < over)])
            for i, (prompt, history) in enumerate(zip(prompts, histories, strict=True))
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=180)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--error", type=float, default=0.0)
    chosen = parser.parse_args()
    prompts = [q.prompt for q in held_out(chosen.prompts // len(FAMILIES), chosen.seed)]
    # In any order of the families, as the portfolio prefers the earlier of equals.
    order = np.random.default_rng(chosen.seed).permutation(len(prompts))
    base = build_actors(ActorChoice(), SearchSettings())
    judge = NoisyVerifier(base.verifier, chosen.error, chosen.seed)
    actors = replace(base, verifier=judge)
    found = [searched(prompts[i], shuffled(int(i), chosen.seed), actors) for i in order]
    asked = [prompts[i] for i in order]
    name = f"adaptive-{chosen.prompts}-{chosen.seed}-{chosen.error:g}"
    keep(name, {**vars(chosen), **by_arm(asked, found), **by_total(asked, found)})


if __name__ == "__main__":
    main()
