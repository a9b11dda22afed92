"""One search of one prompt, told from what it is judged by; and many of them, on every core."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context

from ..miniature.verifier import ExactVerifier
from ..protocols import Actors
from ..search import search
from ..search.seeds import shuffled
from .arms import Arm, actors_of, prepared
from .questions import Question

AHEAD = 8  # trials that wait for each process, so that none is ever idle


@dataclass(frozen=True, slots=True)
class Task:
    arm: Arm
    index: int  # of the question
    question: Question
    seed: int  # of the evaluation


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every picture of a search in the order of painting: the score that its verifier gave, and
    whether it is right in truth."""

    arm: str
    index: int
    scores: tuple[float, ...]
    right: tuple[bool, ...]

    def success(self, budget: int) -> bool:
        """Whether the best of the first `budget` pictures is right; the earliest of equals.

        A search that stopped early had found what no later picture could outrank.
        """
        best = max(range(min(budget, len(self.scores))), key=lambda i: self.scores[i])
        return self.right[best]


def run_trial(task: Task, actors: Actors) -> Outcome:
    """The search of one question."""
    key = shuffled(task.arm.dice, key=task.seed)
    settings = prepared(task.arm, task.question.prompt)
    settings = replace(settings, seed=shuffled(task.index, key))
    seats = actors_of(task.arm, actors, task.seed)
    (history,) = deque(search(task.question.prompt, settings, seats), maxlen=1)
    truth = ExactVerifier().verify(task.question.prompt, [c.image for c in history])
    return Outcome(
        task.arm.name,
        task.index,
        tuple(candidate.score for candidate in history),
        tuple(bool(verdict.passed) for verdict in truth),
    )


def run_trials(
    tasks: Iterable[Task], build: Callable[[], Actors], processes: int
) -> Iterator[Outcome]:
    """Outcomes as they come, in any order; `build` makes the actors once in every process."""
    if processes == 1:
        actors = build()
        yield from (run_trial(task, actors) for task in tasks)
        return
    waiting = iter(tasks)
    with (
        _one_thread_each(),
        ProcessPoolExecutor(
            processes, get_context("spawn"), initializer=_begin, initargs=(build,)
        ) as pool,
    ):
        running = {pool.submit(_work, task) for task in islice(waiting, AHEAD * processes)}
        while running:
            finished = next(as_completed(running))
            running.discard(finished)
            running |= {pool.submit(_work, task) for task in islice(waiting, 1)}
            yield finished.result()


class _one_thread_each:  # noqa: N801  (a context manager)
    """Two threads on two busy cores wait for each other more than they work."""

    def __enter__(self) -> None:
        self.before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"  # read by a new process as it starts

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = self.before


_ACTORS: list[Actors] = []  # of this process


def _begin(build: Callable[[], Actors]) -> None:
    _ACTORS.append(build())


def _work(task: Task) -> Outcome:
    return run_trial(task, _ACTORS[0])
