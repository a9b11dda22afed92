"""Many prompts share one budget: the next round goes to the prompt that gains most by a picture.

It knows only the standing of each search, no prompts and no pictures, so the pictures of only one
prompt are in memory at a time. It has no other state, so it continues after a crash as before.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..protocols import SILENT, Actors, Progress
from ..record import Candidate, Cost, History
from ..settings import Budget, SearchSettings
from .loop import EMPTY, next_batch, search
from .policies import has_passed
from .unjudged import MOST_UNJUDGED_IN_A_ROW, UnjudgedError

LIMITS = ("images", "vlm_calls", "seconds", "steps")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the search of one prompt stands.

    `gain` (0 to 1) is the estimated probability that its next picture is its first to pass. If a
    round is `under_way`, it was interrupted and is completed first. `judged`: it has a picture that
    could be judged.
    """

    gain: float
    cost: Cost
    under_way: bool
    judged: bool = False


class Search(Protocol):
    """The search of one prompt, wherever it keeps its pictures."""

    @property
    def standing(self) -> Standing: ...

    def play(self, budget: Budget) -> Iterator[History]:
        """Paints the next round within this budget of the whole search; yields like `search`, or
        nothing if no round is left."""
        ...


def portfolio(searches: Sequence[Search], total: Budget) -> Iterator[tuple[int, History]]:
    """Runs round after round until all searches have ended or the budget is spent.

    Yields every History with the index of its search. The search with the highest gain is next, the
    first of equals. A search whose pictures cannot be judged ends; its UnjudgedError is raised when
    the others have ended, or at once if no picture was judged before or MOST_UNJUDGED_IN_A_ROW
    searches fail in a row.
    """
    standings = [search.standing for search in searches]
    waiting = set(range(len(searches)))
    errors: list[UnjudgedError] = []
    # Searches that may still fail in a row.
    left = MOST_UNJUDGED_IN_A_ROW if any(standing.judged for standing in standings) else 1
    while waiting:
        index = min(waiting, key=lambda i: (not standings[i].under_way, -standings[i].gain, i))
        costs = [standing.cost for standing in standings]
        budget = remaining_budget(total, costs[:index] + costs[index + 1 :])
        if not standings[index].under_way and too_slow(costs, total):
            budget = None
        played = False
        if budget is not None:
            try:
                for history in searches[index].play(budget):
                    played = True
                    if len(history) and last_of(history).verdict.judged:
                        left = MOST_UNJUDGED_IN_A_ROW
                    yield index, history
            except UnjudgedError as error:
                errors.append(error)
                left, played = left - 1, False
                if not left:
                    raise
            standings[index] = searches[index].standing
        if not played:
            waiting.remove(index)
    if errors:
        raise errors[0]


def last_of(history: History) -> Candidate:
    *_, last = history
    return last


def remaining_budget(total: Budget, others: Sequence[Cost]) -> Budget | None:
    """The budget of one search when each of the others has spent so much; None if none is left."""
    limits = {name: limit for name in LIMITS if (limit := getattr(total, name)) is not None}
    # Only what is limited is added up: with many prompts this is most of a simulation's time.
    left = {
        name: limit - sum(_spent(cost, name) for cost in others) for name, limit in limits.items()
    }
    return Budget(**left) if all(limit > 0 for limit in left.values()) else None


def _spent(cost: Cost, name: str) -> float:
    return cost.total_seconds if name == "seconds" else getattr(cost, name)


def too_slow(costs: Sequence[Cost], total: Budget) -> bool:
    """Whether one more batch, as slow as the slowest of any search, would exceed the seconds; a new
    search has no batch of its own to plan with."""
    if total.seconds is None:
        return False
    spent = sum(cost.total_seconds for cost in costs)
    return spent + max(cost.slowest for cost in costs) > total.seconds


def expected_gain(history: History) -> float:
    """The estimated probability (0 to 1) that the next picture of a search is its first to pass.

    It is 1 / (idle + 2) / lacking. `idle` is the number of pictures since the last progress
    (Laplace's rule of succession), `lacking` the unmet requirements of the best one. So new prompts
    come first, then those that are close and improving. It is 0 after a pass. Pictures that could
    not be judged do not count.
    """
    candidates = [candidate for candidate in history if candidate.verdict.judged]
    if not candidates:
        return 1.0
    if has_passed(history):
        return 0.0
    lacks = [max(1, len(candidate.verdict.unmet)) for candidate in candidates]
    idle = len(lacks) - 1 - lacks.index(min(lacks))
    return 1 / (idle + 2) / min(lacks)


def standing_of(history: History, settings: SearchSettings, actors: Actors) -> Standing:
    """Where a search stands, whatever its budget."""
    if not len(history):
        return Standing(expected_gain(history), history.cost, under_way=False)
    batch = next_batch(history, replace(settings, budget=Budget()), actors)
    under_way = batch is not None and batch.start + batch.recorded > 0
    judged = any(candidate.verdict.judged for candidate in history)
    return Standing(expected_gain(history), history.cost, under_way, judged)


def play_round(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History,
    progress: Progress = SILENT,
) -> Iterator[History]:
    """Paints the next round, if any; for implementations of Search.play."""
    if next_batch(history, settings, actors):
        yield from search(prompt, settings, actors, history, progress, one_round=True)


class InMemory:
    """A Search that holds its History."""

    def __init__(
        self,
        prompt: str,
        settings: SearchSettings,
        actors: Actors,
        history: History = EMPTY,
        progress: Progress = SILENT,
    ) -> None:
        self.prompt, self.settings, self.actors = prompt, settings, actors
        self.history, self.progress = history, progress

    @property
    def standing(self) -> Standing:
        return standing_of(self.history, self.settings, self.actors)

    def play(self, budget: Budget) -> Generator[History]:
        settings = replace(self.settings, budget=budget)
        for history in play_round(self.prompt, settings, self.actors, self.history, self.progress):
            self.history = history
            yield history


class Replaying(InMemory):
    """A Search that reuses earlier pictures and paints only the missing ones.

    `steps` are the histories that an earlier `play` yielded for the same prompt, actors and
    settings, except depth and budget; new ones are appended. `play` yields the same as without
    them, except for rounding if a budget had cut a batch.
    """

    def __init__(
        self,
        prompt: str,
        settings: SearchSettings,
        actors: Actors,
        progress: Progress = SILENT,
        steps: Sequence[History] = (),
    ) -> None:
        super().__init__(prompt, settings, actors, progress=progress)
        self.steps = list(steps)
        self.painted = 0  # new pictures

    def play(self, budget: Budget) -> Generator[History]:
        settings, first = replace(self.settings, budget=budget), None
        while batch := next_batch(self.history, settings, self.actors):
            if first not in (None, batch.round_index):
                return
            first = batch.round_index
            done, missing = len(self.history), len(batch.requests) - batch.recorded
            known = self.steps[done : done + missing]
            if not known:
                break
            for self.history in known:
                yield self.history
        if batch:
            yield from self._painted(settings)

    def _painted(self, settings: SearchSettings) -> Iterator[History]:
        who = (self.prompt, settings, self.actors, self.history, self.progress)
        for self.history in search(*who, one_round=True):
            self.steps.append(self.history)
            self.painted += 1
            yield self.history
