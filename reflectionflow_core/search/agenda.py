"""What is due next: the round that a History stands in, as far as stop rule and budget allow.

All of it follows from History, settings and actors, so a History read back from disk goes on where
it was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..protocols import Actors
from ..record import Budget, Candidate, Cost, History, InputError, SearchSettings
from .replay import due_round
from .strategies import axes_in_force, strategy_named
from .task import Task


@dataclass(frozen=True, slots=True)
class Agenda:
    """One round: the tasks that the budget pays for, and how many of them are painted already."""

    round_index: int
    tasks: list[Task]
    painted: int


def agenda(history: History, settings: SearchSettings, actors: Actors) -> Agenda:
    """The round under way, or the next one; it has no tasks when there is none."""
    index, tasks = due_round(history, settings)
    painted = len(history.rounds[index]) if index < len(history.rounds) else 0
    paid = affordable(tasks[painted:], history.cost, settings.budget, actors)
    return Agenda(index, tasks[: painted + paid], painted)


def finished(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """True if a search would paint nothing more."""
    return over(agenda(history, settings, actors), history, settings)


def over(due: Agenda, history: History, settings: SearchSettings) -> bool:
    """True if nothing of the round that is due would be painted."""
    if due.painted == len(due.tasks):
        return True
    # Half a batch is what a crash left. It is completed before stop rules look at it, as they did
    # not see half of it before the crash either.
    half_a_batch = due.painted % settings.batch_size
    return not half_a_batch and (stopped(history, settings) or late(history, settings))


def affordable(tasks: Sequence[Task], spent: Cost, budget: Budget, actors: Actors) -> int:
    """How many of the tasks, from the first on, a budget in pictures, steps and calls pays for."""
    return min(
        within(budget.images, spent.images, [1 for _ in tasks]),
        within(budget.steps, spent.steps, [steps_of(task, actors) for task in tasks]),
        within(budget.vlm_calls, spent.vlm_calls, [calls_of(task, actors) for task in tasks]),
    )


def within(limit: int | None, spent: int, prices: Sequence[int]) -> int:
    """How many of the prices, from the first on, can be paid without exceeding the limit."""
    if limit is None:
        return len(prices)
    return sum(total <= limit - spent for total in accumulate(prices))


def spent_out(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """True if the budget in VLM calls does not pay for the judging of one more picture.

    A round is planned with the actors' estimates; where these were too low, it ends early.
    """
    limit = settings.budget.vlm_calls
    return limit is not None and history.cost.vlm_calls + judging(settings, actors) > limit


def judging(settings: SearchSettings, actors: Actors) -> int:
    """The VLM calls that one picture costs after it is painted."""
    calls = actors.verifier.calls
    if strategy_named(settings.strategy).in_stages and actors.inspector is not None:
        calls += actors.inspector.calls
    return calls


def steps_of(task: Task, actors: Actors) -> int:
    """The diffusion steps of one task."""
    if task.corrects and actors.corrector is not None:
        return actors.corrector.steps
    return actors.generator.steps


def calls_of(task: Task, actors: Actors) -> int:
    """The VLM calls of one task, from its texts to its verdict."""
    calls = actors.verifier.calls
    if task.asks_writer and actors.writer is not None:
        calls += actors.writer.calls
    if task.evolves and actors.evolver is not None:
        calls += actors.evolver.calls
    if task.stage is not None and actors.inspector is not None:
        calls += actors.inspector.calls
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
    budget = settings.budget
    for what, price, unit, limit in (
        ("judge", judging(settings, actors), "VLM calls", budget.vlm_calls),
        ("paint", actors.generator.steps, "diffusion steps", budget.steps),
    ):
        if limit is not None and not len(history) and limit < price:
            raise InputError(
                f"To {what} one picture takes {price} {unit}, and the budget is {limit}. "
                "Give a larger budget, or leave it away."
            )


def check_seats(settings: SearchSettings, actors: Actors) -> None:
    axes = axes_in_force(settings)
    if strategy_named(settings.strategy).in_stages:
        check_plan(settings, actors)
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


def check_plan(settings: SearchSettings, actors: Actors) -> None:
    if not settings.stages:
        raise InputError(
            f"The strategy {settings.strategy!r} draws by a plan, and there is none. "
            "Let a planner write one, or choose 'reflection'."
        )
    if settings.draft_prompt is not None:
        raise InputError(
            f"The strategy {settings.strategy!r} paints its first pictures from its plan, so the "
            "draft prompt would never be used. Leave one of them away."
        )
    if actors.inspector is None:
        raise InputError(
            f"The strategy {settings.strategy!r} inspects every stage, and there is no inspector. "
            "Give one, or choose 'reflection'."
        )
