"""What requests cost, what a budget still pays for, and what actors really asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol, TypeVar

from ..protocols import Actors, Counting, Painter, Previewing, Restarting
from ..record import Budget, Cost, History, Request, Restart, SearchSettings

Answer = TypeVar("Answer")


def affordable_end(
    requests: Sequence[Request], done: int, spent: Cost, settings: SearchSettings, actors: Actors
) -> int:
    """Up to which position of a round the budget pays, where `done` requests are painted.

    A speculative picture that is dropped costs less than planned, and more of a round is paid for
    later. Then only whole batches are paid for: a picture always gets the same batch mates.
    """
    end = done + affordable_count(requests[done:], spent, settings.budget, actors)
    if end < len(requests) and any(request.speculative for request in requests[done:end]):
        return max(done, end - end % settings.batch_size)
    return end


def affordable_count(
    requests: Sequence[Request], spent: Cost, budget: Budget, actors: Actors
) -> int:
    """How many requests, from the first on, a budget in pictures, steps and calls pays for."""
    return min(
        _within(budget.images, spent.images, [1] * len(requests)),
        _within(budget.steps, spent.steps, [steps_of(each, actors) for each in requests]),
        _within(budget.vlm_calls, spent.vlm_calls, [calls_of(each, actors) for each in requests]),
    )


def _within(limit: int | None, spent: int, prices: Sequence[int]) -> int:
    """How many of the prices, from the first on, the limit pays for."""
    if limit is None:
        return len(prices)
    return sum(total <= limit - spent for total in accumulate(prices))


def may_be_cut(requests: Sequence[Request], settings: SearchSettings) -> bool:
    """True if it depends on the pictures of a round whether the rest of it is painted."""
    budget = settings.budget
    limited = budget.vlm_calls is not None or budget.seconds is not None
    return limited or settings.stop != "never" or any(each.speculative for each in requests)


def would_overrun(history: History, settings: SearchSettings) -> bool:
    """True if one more batch, as slow as the slowest so far, would exceed the budget in seconds.

    The seconds are those that actors work. The first batch is always painted, and only a batch
    slower than all before it can exceed the budget.
    """
    limit, cost = settings.budget.seconds, history.cost
    return limit is not None and cost.total_seconds + cost.slowest > limit


def steps_of(request: Request, actors: Actors) -> int:
    """The most diffusion steps that one request may take."""
    generator = actors.generator
    if isinstance(request.seed, Restart) and isinstance(generator, Restarting):
        return generator.steps_from(request.seed.level)
    painter = actors.corrector if request.corrects and actors.corrector else generator
    return painter.steps + (preview_steps(painter) if request.speculative else 0)


def preview_steps(painter: Painter) -> int:
    return painter.preview_steps if isinstance(painter, Previewing) else 0


def calls_of(request: Request, actors: Actors) -> int:
    """The most VLM calls of one request, from its texts to its verdict, as the actors estimate."""
    calls = actors.verifier.calls * (2 if request.speculative else 1)
    if request.asks_writer and actors.writer is not None:
        calls += actors.writer.calls
    if request.evolves and actors.evolver is not None:
        calls += actors.evolver.calls
    if request.stage is not None and actors.inspector is not None:
        calls += actors.inspector.calls
    return calls


class Estimating(Protocol):
    """What a verifier, a writer, an evolver and an inspector have in common."""

    calls: int


def metered(
    actor: Estimating, items: int, question: Callable[[], list[Answer]]
) -> tuple[list[Answer], int]:
    """The answers to `items` items and the calls of all: counted if the actor counts, otherwise
    its estimate."""
    before = calls_so_far(actor)
    answers = question()
    after = calls_so_far(actor)
    if before is None or after is None:
        return answers, actor.calls * items
    return answers, after - before


def calls_so_far(actor: object) -> int | None:
    """All calls that an actor has made so far; None where it does not count them."""
    return actor.spent if isinstance(actor, Counting) else None


def any_counts(actors: Actors) -> bool:
    """True if one of the actors counts its own calls."""
    asked = (actors.verifier, actors.writer, actors.evolver, actors.inspector)
    return any(calls_so_far(actor) is not None for actor in asked)


def split_evenly(total: int, items: int) -> list[int]:
    """A total as whole numbers, one an item; the first ones take what does not divide."""
    each, rest = divmod(total, items)
    return [each + (i < rest) for i in range(items)]
