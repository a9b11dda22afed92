"""One trial: an arm's search of a prompt, with scores, correctness and cost of its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from ..miniature.verifier import ExactVerifier
from ..protocols import Actors
from ..record import Cost
from ..search import UnjudgedError, search
from ..search.portfolio import expected_gain
from ..search.seeds import shuffled
from .arms import Arm, actors_of, prepared
from .sharing import SharedSampling
from .work import summed_up


@dataclass(frozen=True, slots=True)
class Trial:
    arm: Arm
    index: int  # position of the prompt
    prompt: str
    seed: int  # that of the evaluation


class Spent(NamedTuple):
    """The cost up to the moment a picture was judged; `steps` are diffusion steps."""

    images: int
    steps: int
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The pictures of a search in the order of painting.

    For each picture:

    * the verifier's score, None if it could not judge;
    * whether it is correct by the exact verifier;
    * `spent`: the cost so far, empty in format 1;
    * `gains`: the portfolio's probability that the next picture passes;
    * `met`: the share (0 to 1) of the prompt's atoms it shows, empty in older records.

    `total` includes dropped pictures; `rounds` is the number of pictures of each round.
    """

    arm: str
    index: int
    scores: tuple[float | None, ...]
    right: tuple[bool, ...]
    spent: tuple[Spent, ...] = ()
    total: Spent | None = None
    gains: tuple[float, ...] = ()
    rounds: tuple[int, ...] = ()
    met: tuple[float, ...] = ()

    def success(self, budget: float, unit: str = "images") -> bool:
        """Whether the best-scored picture within `budget` is correct; False if none was judged.

        `unit` is a field of Spent. Of equal scores the earliest counts, as in the search itself
        where judges err. If a search stopped early, no later picture could have ranked higher.
        """
        chosen = self._chosen(budget, unit)
        return chosen is not None and self.right[chosen]

    def atoms_met(self, budget: float) -> float:
        """The share of atoms that the best-scored of `budget` pictures shows; 0 without any."""
        chosen = self._chosen(budget, "images")
        return 0.0 if chosen is None else self.met[chosen]

    def _chosen(self, budget: float, unit: str) -> int | None:
        """The position of the picture that a search with this budget ends with."""
        affordable = self._affordable_count(budget, unit)
        scores = ((score, i) for i, score in enumerate(self.scores[:affordable]))
        judged = [(score, -i) for score, i in scores if score is not None]
        return -max(judged)[1] if judged else None

    def _affordable_count(self, budget: float, unit: str) -> int:
        if unit == "images" and not self.spent:
            return min(int(budget), len(self.scores))
        return sum(getattr(spent, unit) <= budget for spent in self.spent)


def run_trial(trial: Trial, actors: Actors, sampled: SharedSampling | None = None) -> Outcome:
    """The search of a trial. With `sampled`, batches that an earlier trial of the same prompt
    sampled are reused; the outcome is the same, and its seconds are those of the first sampling.
    """
    sampled = sampled or SharedSampling()
    before = sampled.saved
    actors = sampled.actors(trial.index, actors_of(trial.arm, actors, trial.seed))
    key = shuffled(trial.arm.dice, key=trial.seed)
    settings = prepared(trial.arm, trial.prompt)
    settings = replace(settings, seed=shuffled(trial.index, key))
    steps, spent = [], []
    with suppress(UnjudgedError):  # the cost counts, but no picture is chosen
        for step in search(trial.prompt, settings, actors):
            steps.append(step)
            spent.append(spent_of(step.cost, sampled.saved - before))
    kept = [number for number, step in enumerate(steps) if [*step][-1].finished]
    pictures = steps[-1].finished
    truth = ExactVerifier().verify(trial.prompt, [c.image for c in pictures])
    return Outcome(
        trial.arm.name,
        trial.index,
        tuple(c.rank if c.verdict.judged else None for c in pictures),
        tuple(bool(verdict.passed) for verdict in truth),
        tuple(spent[number] for number in kept),
        spent[-1],
        tuple(round(expected_gain(steps[number]), 4) for number in kept),
        tuple(sum(picture.finished for picture in drawn) for drawn in steps[-1].rounds),
        tuple(verdict.score or 0.0 for verdict in truth),
    )


def spent_of(cost: Cost, saved: float = 0.0) -> Spent:
    """`saved`: seconds of sampling that was shared."""
    return Spent(cost.images, cost.steps, cost.vlm_calls, round(cost.total_seconds + saved, 4))


def summed_cost(searches: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """The cost of all searches, from the final Spent and the trace of each, as recorded."""
    known = [(Spent(*spent), trace) for spent, trace in searches]
    return {
        "pictures": sum(spent.images for spent, _ in known),
        "diffusion_steps": sum(spent.steps for spent, _ in known),
        "vlm_calls": sum(spent.calls for spent, _ in known),
        **summed_up(trace for _, trace in known),
    }


def trial_runner(build: Callable[[], Actors]) -> Callable[[Trial], Outcome]:
    """A function that runs trials with actors built once."""
    return partial(run_trial, actors=build(), sampled=SharedSampling())


def read_outcome(line: dict[str, Any]) -> Outcome:
    """The Outcome of a recorded line; format 1 had no costs."""
    return Outcome(
        line["arm"],
        line["index"],
        tuple(line["scores"]),
        tuple(line["right"]),
        tuple(Spent(*row) for row in line.get("spent", ())),
        Spent(*line["total"]) if line.get("total") else None,
        tuple(line.get("gains", ())),
        tuple(line.get("rounds", ())),
        tuple(line.get("met", ())),
    )
