"""What is due next: the round that a History stands in, as far as stop rule and budget allow.

All of it follows from History, settings and actors, so a History read back from disk goes on where
it was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ..protocols import Actors
from ..record import Candidate, History, InputError, SearchSettings
from .strategies import axes_in_force, plan_drafts, strategy_named
from .task import Task


@dataclass(frozen=True, slots=True)
class Agenda:
    """One round: the tasks that the budget pays for, and how many of them are painted already."""

    round_index: int
    tasks: list[Task]
    painted: int


def agenda(history: History, settings: SearchSettings, actors: Actors) -> Agenda:
    """The round under way, or the next one; it has no tasks when there is none."""
    index = current_round(history, settings)
    if index > settings.depth:
        return Agenda(index, [], 0)
    painted = len(history.rounds[index]) if index < len(history.rounds) else 0
    tasks = plan(settings, replace(history, rounds=history.rounds[:index]))
    paid = affordable(tasks[painted:], history, settings, actors)
    return Agenda(index, tasks[: painted + paid], painted)


def finished(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """True if a search would paint nothing more."""
    due = agenda(history, settings, actors)
    if due.painted == len(due.tasks):
        return True
    # Half a batch is what a crash left. It is completed before stop rules look at it, as they did
    # not see half of it before the crash either.
    half_a_batch = due.painted % settings.batch_size
    return not half_a_batch and (stopped(history, settings) or late(history, settings))


def plan(settings: SearchSettings, past: History) -> list[Task]:
    if not past.rounds:
        return plan_drafts(settings)
    return strategy_named(settings.strategy).plan(settings, past)


def current_round(history: History, settings: SearchSettings) -> int:
    last = len(history.rounds) - 1
    under_way = last >= 0 and len(history.rounds[last]) < round_size(last, settings)
    return last if under_way else last + 1


def round_size(index: int, settings: SearchSettings) -> int:
    return settings.width if index else settings.first_round


def affordable(
    tasks: Sequence[Task], history: History, settings: SearchSettings, actors: Actors
) -> int:
    """How many of the tasks, from the first on, the budget in pictures and VLM calls pays for."""
    count, budget = len(tasks), settings.budget
    if budget.images is not None:
        count = min(count, max(0, budget.images - history.cost.images))
    if budget.vlm_calls is not None:
        left = budget.vlm_calls - history.cost.vlm_calls
        totals = accumulate(calls_of(task, actors) for task in tasks)
        count = min(count, sum(total <= left for total in totals))
    return count


def spent_out(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """True if the budget in VLM calls does not pay for the judging of one more picture.

    A round is planned with the actors' estimates; where these were too low, it ends early.
    """
    limit = settings.budget.vlm_calls
    return limit is not None and history.cost.vlm_calls + actors.verifier.calls > limit


def calls_of(task: Task, actors: Actors) -> int:
    """The VLM calls of one task, from its texts to its verdict."""
    calls = actors.verifier.calls
    if task.corrects and actors.writer is not None:
        calls += actors.writer.calls
    if task.evolves and actors.evolver is not None:
        calls += actors.evolver.calls
    return calls


def stopped(candidates: Iterable[Candidate], settings: SearchSettings) -> bool:
    """True if one of the candidates meets the stop rule."""
    stop = settings.stop
    if stop == "never":
        return False
    if stop == "passed":
        return any(candidate.verdict.passed for candidate in candidates)
    return any(candidate.score >= float(stop) for candidate in candidates)


def late(history: History, settings: SearchSettings) -> bool:
    """True if one more batch, as slow as the slowest so far, would overrun the budget in seconds.

    Counted are the seconds that actors work. The first batch has nothing to compare with and is
    always painted; only a batch slower than all before it can overrun the budget.
    """
    limit, cost = settings.budget.seconds, history.cost
    return limit is not None and cost.total_seconds + cost.slowest > limit


def check_request(prompt: str, settings: SearchSettings, actors: Actors, history: History) -> None:
    """Raises InputError for what would fail later, before anything is painted."""
    if not prompt.strip():
        raise InputError("The prompt is empty. Say in words what to paint.")
    check_seats(settings, actors)
    first_picture, limit = actors.verifier.calls, settings.budget.vlm_calls
    if limit is not None and not len(history) and limit < first_picture:
        raise InputError(
            f"To judge one picture takes {first_picture} VLM calls, and the budget is {limit}. "
            "Give a larger budget, or leave it away."
        )
    sizes = [len(candidates) for candidates in history.rounds]
    whole = [round_size(i, settings) for i in range(len(sizes))]
    if sizes[:-1] != whole[:-1] or sizes[-1:] > whole[-1:]:
        raise InputError(
            f"The history has rounds of {sizes} pictures, the settings ask for {whole}. "
            "Resume with the width and drafts that it was begun with."
        )


def check_seats(settings: SearchSettings, actors: Actors) -> None:
    axes = axes_in_force(settings)
    if settings.depth == 0:
        return
    for axis, seat, actor in (
        ("reflection", "corrector", actors.corrector),
        ("reflection", "reflection writer", actors.writer),
        ("prompt", "prompt evolver", actors.evolver),
    ):
        if axis in axes and actor is None:
            raise InputError(
                f"The {axis} axis needs a {seat}, and there is none. "
                f"Give one, or take {axis} out of the axes."
            )
