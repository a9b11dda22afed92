"""The whole evaluation of a study: every arm on every question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..protocols import Actors
from .arms import Arm
from .journal import Journal
from .pool import Crew, run_all
from .questions import Question
from .trial import Outcome, Task, read_outcome, summed_cost, trials
from .work import written


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated. `about` says what the numbers belong to: model, weights, versions."""

    study: str
    arms: Sequence[Arm]
    questions: Sequence[Question]
    seed: int
    about: Mapping[str, Any]

    @property
    def asked(self) -> dict[str, Any]:
        return {
            "benchmark": "shapes",
            "study": self.study,
            "seed": self.seed,
            "about": dict(self.about),
            "arms": [asdict(arm) for arm in self.arms],
            "questions": [asdict(question) for question in self.questions],
        }

    @property
    def tasks(self) -> list[Task]:
        return [
            Task(arm, index, question, self.seed)
            for index, question in enumerate(self.questions)
            for arm in self.arms
        ]

    def journal(self, file: Path) -> Journal:
        return Journal(file, self.asked)


class Results:
    """The outcomes of an evaluation by arm; complete when every question has one."""

    def __init__(self, evaluation: Evaluation, outcomes: Sequence[Outcome]) -> None:
        self.evaluation = evaluation
        self.by_arm: dict[str, dict[int, Outcome]] = {arm.name: {} for arm in evaluation.arms}
        for outcome in outcomes:
            self.by_arm[outcome.arm][outcome.index] = outcome

    def of(self, arms: Iterable[str]) -> Results:
        """The results of some arms only, in their order."""
        chosen = copy(self)
        chosen.by_arm = {arm: self.by_arm[arm] for arm in arms}
        return chosen

    def in_order(self, arm: str) -> list[Outcome]:
        """The outcomes of an arm by question."""
        outcomes = self.by_arm[arm]
        return [outcomes[i] for i in range(len(outcomes))]

    def success(self, arm: str, budget: float, unit: str = "images") -> np.ndarray:
        """Whether each question's best picture that `budget` buys is right, (n,) bool; `unit` is
        one of trial.UNITS.
        """
        return np.array([outcome.success(budget, unit) for outcome in self.in_order(arm)])

    def spent(self, arm: str, unit: str) -> np.ndarray:
        """All that the search of each question spent, (n,); `unit` is a field of trial.Spent."""
        return np.array([float(getattr(o.total, unit)) for o in self.in_order(arm)])

    def share_right(self, arm: str) -> np.ndarray:
        """The share of right pictures of each question, (n,)."""
        return np.array([np.mean(outcome.right) for outcome in self.in_order(arm)])

    @property
    def families(self) -> np.ndarray:
        return np.array([question.family for question in self.evaluation.questions])


def evaluate(
    evaluation: Evaluation, file: Path, build: Callable[[], Actors], crew: Crew
) -> Iterator[int]:
    """Runs what is missing and yields how many trials are done after each; FILE.part keeps them."""
    journal = evaluation.journal(file)
    known = {(outcome.arm, outcome.index) for outcome in journal.lines(read_outcome)}
    missing = [t for t in evaluation.tasks if (t.arm.name, t.index) not in known]
    yield len(known)
    work = partial(trials, build)
    for count, done in enumerate(run_all(missing, work, crew), start=len(known) + 1):
        journal.append({**asdict(done.value), "trace": written(done.trace)})
        yield count


def finish(evaluation: Evaluation, file: Path, record: Mapping[str, Any]) -> None:
    """Writes everything into `file`: what was asked, `record` and every outcome."""
    journal = evaluation.journal(file)
    outcomes = [asdict(o) for o in sorted(journal.lines(read_outcome), key=_place)]
    journal.finish({**record, "outcomes": outcomes})


def results_so_far(evaluation: Evaluation, file: Path) -> Results:
    return Results(evaluation, evaluation.journal(file).lines(read_outcome))


def cost_so_far(evaluation: Evaluation, file: Path) -> dict[str, Any]:
    """What all searches cost together; see `trial.summed_cost`."""
    return summed_cost(evaluation.journal(file).lines(lambda line: (line["total"], line["trace"])))


def _place(outcome: Outcome) -> tuple[str, int]:
    return outcome.arm, outcome.index
