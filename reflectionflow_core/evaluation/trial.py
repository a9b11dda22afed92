"""One search of one prompt, told from what it is judged by and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from ..miniature.verifier import ExactVerifier
from ..protocols import Actors
from ..record import Cost
from ..search import search
from ..search.portfolio import expected_gain
from ..search.seeds import shuffled
from .arms import Arm, actors_of, prepared
from .questions import Question
from .work import summed_up


@dataclass(frozen=True, slots=True)
class Task:
    arm: Arm
    index: int  # of the question
    question: Question
    seed: int  # of the evaluation


class Spent(NamedTuple):
    """What a search had spent when a picture was judged; `steps` are of diffusion."""

    images: int
    steps: int
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every picture of a search in the order of painting: the score that its verifier gave,
    whether it is right in truth, and what was spent with it; `total` is all that was spent, on
    dropped pictures too. `gains` are the chances, after each, that the next one passes, as a
    portfolio reckons them, and `rounds` how many pictures each round had.

    `spent` is empty where it was not written down, as before format 2.
    """

    arm: str
    index: int
    scores: tuple[float, ...]
    right: tuple[bool, ...]
    spent: tuple[Spent, ...] = ()
    total: Spent | None = None
    gains: tuple[float, ...] = ()
    rounds: tuple[int, ...] = ()

    def success(self, budget: float, unit: str = "images") -> bool:
        """Whether the best of the pictures that `budget` buys is right; the earliest of equals.

        `unit` is a field of Spent: success may be drawn over steps or calls as well. A search that
        stopped early had found what no later picture could outrank. Without a picture there is no
        success.
        """
        bought = self._bought(budget, unit)
        best = max(range(bought), key=lambda i: self.scores[i], default=None)
        return best is not None and self.right[best]

    def _bought(self, budget: float, unit: str) -> int:
        if unit == "images" and not self.spent:
            return min(int(budget), len(self.scores))
        return sum(getattr(spent, unit) <= budget for spent in self.spent)


def run_trial(task: Task, actors: Actors) -> Outcome:
    """The search of one question."""
    key = shuffled(task.arm.dice, key=task.seed)
    settings = prepared(task.arm, task.question.prompt)
    settings = replace(settings, seed=shuffled(task.index, key))
    seats = actors_of(task.arm, actors, task.seed)
    steps = list(search(task.question.prompt, settings, seats))
    kept = [step for step in steps if [*step][-1].finished]
    pictures = steps[-1].finished
    truth = ExactVerifier().verify(task.question.prompt, [c.image for c in pictures])
    return Outcome(
        task.arm.name,
        task.index,
        tuple(candidate.score for candidate in pictures),
        tuple(bool(verdict.passed) for verdict in truth),
        tuple(spent_of(step.cost) for step in kept),
        spent_of(steps[-1].cost),
        tuple(round(expected_gain(step), 4) for step in kept),
        tuple(sum(picture.finished for picture in drawn) for drawn in steps[-1].rounds),
    )


def spent_of(cost: Cost) -> Spent:
    return Spent(cost.images, cost.steps, cost.vlm_calls, round(cost.total_seconds, 4))


def summed_cost(searches: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """Of all that each search had spent in the end and its trace, as they are written."""
    known = [(Spent(*spent), trace) for spent, trace in searches]
    return {
        "pictures": sum(spent.images for spent, _ in known),
        "diffusion_steps": sum(spent.steps for spent, _ in known),
        "vlm_calls": sum(spent.calls for spent, _ in known),
        **summed_up(trace for _, trace in known),
    }


def trials(build: Callable[[], Actors]) -> Callable[[Task], Outcome]:
    """Runs tasks by actors that are built once."""
    return partial(_run_by, build())


def _run_by(actors: Actors, task: Task) -> Outcome:
    return run_trial(task, actors)


def read_outcome(line: dict[str, Any]) -> Outcome:
    """An outcome as it was written; those of format 1 had no costs."""
    spent = tuple(Spent(*row) for row in line.get("spent", ()))
    total = Spent(*line["total"]) if line.get("total") else None
    told = tuple(line["scores"]), tuple(line["right"]), spent, total
    plan = tuple(line.get("gains", ())), tuple(line.get("rounds", ()))
    return Outcome(line["arm"], line["index"], *told, *plan)
