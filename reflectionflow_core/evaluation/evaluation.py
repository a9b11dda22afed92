"""A whole evaluation: every arm on every question, on disk as it goes, and summed up at the end.

While it runs, FILE.part has one line an outcome; a killed evaluation goes on after the last one.
When it is over, FILE has everything, and FILE.part is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..archive import files
from ..protocols import Actors
from ..record import InputError
from .arms import Arm
from .questions import Question
from .trial import Outcome, Task, run_trials

FORMAT = 1


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
        """As JSON would give it back."""
        record = {
            "format": FORMAT,
            "study": self.study,
            "seed": self.seed,
            "about": dict(self.about),
            "arms": [asdict(arm) for arm in self.arms],
            "questions": [asdict(question) for question in self.questions],
        }
        return json.loads(json.dumps(record))

    @property
    def tasks(self) -> list[Task]:
        return [
            Task(arm, index, question, self.seed)
            for index, question in enumerate(self.questions)
            for arm in self.arms
        ]


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

    def success(self, arm: str, budget: int) -> np.ndarray:
        """Whether each question's best of `budget` pictures is right, (n,) bool."""
        outcomes = self.by_arm[arm]
        return np.array([outcomes[i].success(budget) for i in range(len(outcomes))])

    def share_right(self, arm: str) -> np.ndarray:
        """The share of right pictures of each question, (n,)."""
        outcomes = self.by_arm[arm]
        return np.array([np.mean(outcomes[i].right) for i in range(len(outcomes))])

    @property
    def families(self) -> np.ndarray:
        return np.array([question.family for question in self.evaluation.questions])


def evaluate(
    evaluation: Evaluation, file: Path, build: Callable[[], Actors], processes: int
) -> Iterator[int]:
    """Runs what is missing and yields how many trials are done after each; FILE.part keeps them."""
    part = part_of(file)
    done = _begun(part, evaluation)
    known = {(outcome.arm, outcome.index) for outcome in done}
    missing = [t for t in evaluation.tasks if (t.arm.name, t.index) not in known]
    yield len(known)
    for count, outcome in enumerate(run_trials(missing, build, processes), start=len(known) + 1):
        files.append(part, json.dumps(asdict(outcome)).encode() + b"\n")
        yield count


def finish(evaluation: Evaluation, file: Path, summary: Mapping[str, Any]) -> None:
    """Writes everything into `file`."""
    outcomes = [asdict(o) for o in sorted(_begun(part_of(file), evaluation), key=_place)]
    record = {**evaluation.asked, "summary": summary, "outcomes": outcomes}
    files.replace_file(file, json.dumps(record).encode() + b"\n")
    part_of(file).unlink()


def results_so_far(evaluation: Evaluation, file: Path) -> Results:
    return Results(evaluation, _begun(part_of(file), evaluation))


def part_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _place(outcome: Outcome) -> tuple[str, int]:
    return outcome.arm, outcome.index


def _begun(part: Path, evaluation: Evaluation) -> list[Outcome]:
    """The outcomes in FILE.part, which is begun if there is none."""
    if not part.exists():
        files.make_folder(part.parent)
        files.replace_file(part, json.dumps(evaluation.asked).encode() + b"\n")
    whole, _, torn = part.read_bytes().rpartition(b"\n")
    if torn:  # what a killed process was writing
        files.truncate(part, len(whole) + 1)
    try:
        asked, *lines = [json.loads(line) for line in whole.split(b"\n")]
        outcomes = [_outcome(line) for line in lines]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{part} is damaged ({error}). Delete it to begin anew.") from error
    if asked != evaluation.asked:
        raise InputError(
            f"{part} holds the beginning of another evaluation. "
            "Go on with the options that it was begun with, or delete it."
        )
    return outcomes


def _outcome(line: Mapping[str, Any]) -> Outcome:
    return Outcome(line["arm"], line["index"], tuple(line["scores"]), tuple(line["right"]))
