"""The evaluation of a study: every arm on every prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..protocols import Actors
from .arms import Arm
from .journal import Journal
from .pool import WorkerPool
from .prompts import EvalPrompt
from .trial import Outcome, Trial, read_outcome, summed_cost, trial_runner


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated. `about` describes model, weights and versions."""

    study: str
    arms: Sequence[Arm]
    prompts: Sequence[EvalPrompt]
    seed: int
    about: Mapping[str, Any]

    @property
    def header(self) -> dict[str, Any]:
        return {
            "benchmark": "shapes",
            "study": self.study,
            "seed": self.seed,
            "about": dict(self.about),
            "arms": [asdict(arm) for arm in self.arms],
            "questions": [asdict(prompt) for prompt in self.prompts],
        }

    @property
    def trials(self) -> list[Trial]:
        return [
            Trial(arm, index, prompt.prompt, self.seed)
            for index, prompt in enumerate(self.prompts)
            for arm in self.arms
        ]

    def journal(self, file: Path) -> Journal:
        return Journal(file, self.header)


class Results:
    """The outcomes of an evaluation by arm, one of each prompt."""

    def __init__(self, evaluation: Evaluation, lines: Sequence[dict[str, Any]]) -> None:
        self.evaluation, self.lines = evaluation, lines
        outcomes = sorted(map(read_outcome, lines), key=lambda o: (o.arm, o.index))
        self.records = [asdict(outcome) for outcome in outcomes]
        self.by_arm: dict[str, dict[int, Outcome]] = {arm.name: {} for arm in evaluation.arms}
        for outcome in outcomes:
            self.by_arm[outcome.arm][outcome.index] = outcome

    @property
    def cost(self) -> dict[str, Any]:
        """The cost of all searches, see `trial.summed_cost`."""
        return summed_cost((line["total"], line["trace"]) for line in self.lines)

    @property
    def unjudged_text(self) -> str:
        """How many pictures the verifiers could not judge; "" if none."""
        scores = [score for line in self.lines for score in line["scores"]]
        failed = scores.count(None)
        if not failed:
            return ""
        return f"{failed:,} of {len(scores):,} pictures could not be judged; none was chosen."

    def of(self, arms: Iterable[str]) -> Results:
        """The results of these arms, in this order."""
        chosen = copy(self)
        chosen.by_arm = {arm: self.by_arm[arm] for arm in arms}
        return chosen

    def in_order(self, arm: str) -> list[Outcome]:
        """The outcomes of an arm in the order of the prompts."""
        outcomes = self.by_arm[arm]
        return [outcomes[i] for i in range(len(outcomes))]

    def success(self, arm: str, budget: float, unit: str = "images") -> np.ndarray:
        """Whether each prompt's best picture within `budget` is correct, (n,) bool.

        `unit` is a field of trial.Spent.
        """
        return np.array([outcome.success(budget, unit) for outcome in self.in_order(arm)])

    def atoms_met(self, arm: str, budget: float) -> np.ndarray | None:
        """The share (0 to 1) of its atoms that each prompt's best picture shows, (n,), within
        `budget` pictures.

        None if the records lack it.
        """
        outcomes = self.in_order(arm)
        if not all(outcome.met for outcome in outcomes):
            return None
        return np.array([outcome.atoms_met(budget) for outcome in outcomes])

    def spent(self, arm: str, unit: str) -> np.ndarray:
        """The cost of the whole search of each prompt, (n,); `unit` is a field of trial.Spent."""
        return np.array([float(getattr(o.total, unit)) for o in self.in_order(arm)])

    def share_right(self, arm: str) -> np.ndarray:
        """The share of correct pictures of each prompt, (n,)."""
        return np.array([np.mean(outcome.right) for outcome in self.in_order(arm)])

    @property
    def families(self) -> np.ndarray:
        return np.array([prompt.family for prompt in self.evaluation.prompts])


def evaluate(
    evaluation: Evaluation, file: Path, build: Callable[[], Actors], pool: WorkerPool
) -> Iterator[int]:
    """Runs the missing trials, saving each to FILE.part; yields the number done after each."""
    journal = evaluation.journal(file)
    with journal.locked():
        known = {(outcome.arm, outcome.index) for outcome in journal.lines(read_outcome)}
        missing = [t for t in evaluation.trials if (t.arm.name, t.index) not in known]
        yield from journal.run(missing, len(known), partial(trial_runner, build), pool)


def results_so_far(evaluation: Evaluation, file: Path) -> Results:
    """The results of the first prompts that all arms have searched, equally many of each family;
    of all prompts once the evaluation is done."""
    known = evaluation.journal(file).lines(dict)
    lines = list({(line["arm"], line["index"]): line for line in known}.values())
    searched = Counter(line["index"] for line in lines)
    count = len(evaluation.prompts)
    done = next((i for i in range(count) if searched[i] < len(evaluation.arms)), count)
    done -= done % len({prompt.family for prompt in evaluation.prompts})
    begun = replace(evaluation, prompts=evaluation.prompts[:done])
    return Results(begun, [line for line in lines if line["index"] < done])
