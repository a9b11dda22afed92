"""What is due next: the round that a History stands in, as far as stop rule and budget allow.

All of it follows from History, settings and actors, so a History read back from disk goes on where
it was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..protocols import Actors, Corrector, Foreseeing, Generator, Repainter
from ..record import Budget, Candidate, Cost, History, InputError, Restart, SearchSettings
from .replay import due_round
from .strategies import axes_in_force, strategy_named
from .task import Task


@dataclass(frozen=True, slots=True)
class Agenda:
    """One round: the tasks that the budget pays for, and how many of them are painted already.

    A round that is `cut` has more tasks; they may be paid for yet if these cost less than reckoned.
    """

    round_index: int
    tasks: list[Task]
    painted: int
    cut: bool = False


def agenda(history: History, settings: SearchSettings, actors: Actors) -> Agenda:
    """The round under way, or the next one; it has no tasks when there is none."""
    index, tasks = due_round(history, settings)
    painted = len(history.rounds[index]) if index < len(history.rounds) else 0
    paid = _paid(tasks, painted, history, settings, actors)
    return Agenda(index, tasks[:paid], painted, cut=paid < len(tasks))


def _paid(
    tasks: list[Task], painted: int, history: History, settings: SearchSettings, actors: Actors
) -> int:
    """How many tasks of the round the budget pays for, those that are painted among them.

    What is dropped costs less than was reckoned, so more of a round may be paid for later. Then
    only whole batches are: a picture shall have the same mates whenever it is paid for.
    """
    end = painted + affordable(tasks[painted:], history.cost, settings.budget, actors)
    if end == len(tasks) or not any(task.tentative for task in tasks[painted:end]):
        return end
    return max(painted, end - end % settings.batch_size)


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
    """The most diffusion steps that one task may take."""
    if isinstance(task.seed, Restart) and isinstance(actors.generator, Repainter):
        return actors.generator.steps_from(task.seed.level)
    painter = actors.corrector if task.corrects and actors.corrector else actors.generator
    return painter.steps + (foresight_steps(painter) if task.tentative else 0)


def foresight_steps(painter: Generator | Corrector) -> int:
    return painter.foresight_steps if isinstance(painter, Foreseeing) else 0


def calls_of(task: Task, actors: Actors) -> int:
    """The most VLM calls of one task, from its texts to its verdict."""
    calls = actors.verifier.calls * (2 if task.tentative else 1)
    if task.asks_writer and actors.writer is not None:
        calls += actors.writer.calls
    if task.evolves and actors.evolver is not None:
        calls += actors.evolver.calls
    if task.stage is not None and actors.inspector is not None:
        calls += actors.inspector.calls
    return calls


def stopped(candidates: Iterable[Candidate], settings: SearchSettings) -> bool:
    """True if one of the candidates meets the stop rule; a foresight of one does not."""
    stop = settings.stop
    if stop == "never":
        return False
    done = (candidate for candidate in candidates if candidate.finished)
    if stop == "passed":
        return any(candidate.verdict.passed for candidate in done)
    return any(candidate.score >= float(stop) for candidate in done)


def late(history: History, settings: SearchSettings) -> bool:
    """True if one more batch, as slow as the slowest so far, would overrun the budget in seconds.

    Counted are the seconds that actors work. The first batch has nothing to compare with and is
    always painted; only a batch slower than all before it can overrun the budget.
    """
    limit, cost = settings.budget.seconds, history.cost
    return limit is not None and cost.total_seconds + cost.slowest > limit


def check_request(prompt: str, settings: SearchSettings, actors: Actors, history: History) -> None:
    """Raises InputError for what would fail later, before anything is painted.

    A history without pictures may have cost something: what was written before them.
    """
    if not prompt.strip():
        raise InputError("The prompt is empty. Say in words what to paint.")
    check_seats(settings, actors)
    if len(history):
        return
    budget, (_, tasks) = settings.budget, due_round(history, settings)
    if not tasks:
        return
    first, before = tasks[0], history.cost.vlm_calls
    judge = "prepare and judge" if before else "judge"
    for what, price, unit, limit in (
        (judge, before + calls_of(first, actors), "VLM calls", budget.vlm_calls),
        ("paint", steps_of(first, actors), "diffusion steps", budget.steps),
    ):
        if limit is not None and limit < price:
            raise InputError(
                f"To {what} one picture takes {price} {unit}, and the budget is {limit}. "
                "Give a larger budget, or leave it away."
            )


def check_seats(settings: SearchSettings, actors: Actors) -> None:
    axes = axes_in_force(settings)
    ability = strategy_named(settings.strategy).ability
    if ability is not None and not isinstance(actors.generator, ability.protocol):
        raise InputError(
            f"The strategy {settings.strategy!r} {ability.needs}, and this FLUX cannot be asked "
            "for that. Choose another strategy, or load FLUX another way."
        )
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
