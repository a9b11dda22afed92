"""What requests cost, how many of them a budget pays for, and how many calls actors made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import accumulate, takewhile
from typing import Protocol, TypeVar

from ..allowance import Allowance, calls_allowed
from ..protocols import Actors, Counting, Previewing, Restarting
from ..record import Cost, History, Request, Restart
from ..settings import Budget, SearchSettings
from .looking import most_looks

Answer = TypeVar("Answer")
FINISH_LEVEL = 0.5  # noise level from which a preview is finished: its content stays, gets sharper
FINISHING = Request(Restart(0, FINISH_LEVEL))


def affordable_end(
    requests: Sequence[Request], done: int, spent: Cost, settings: SearchSettings, actors: Actors
) -> int:
    """The position in a round up to which the budget pays, if `done` requests are painted.

    A speculative picture that is dropped costs less than planned, so more of its round may become
    affordable. Such a round is paid for in whole batches, since a picture may depend on its batch.
    Previews need room for a picture that is finished from one of them, and are not painted if their
    round would be cut short, since the strategy chooses among all of them.
    """
    end = min(
        affordable_ends(requests, done, spent, settings, actors).values(), default=len(requests)
    )
    if end == len(requests):
        return end
    if any(request.speculative for request in requests[done:end]):
        return max(done, end - end % settings.batch_size)
    previewed = (i for i in range(done, end) if only_previewed(requests[i], actors))
    return next(previewed, end)


def affordable_ends(
    requests: Sequence[Request], done: int, spent: Cost, settings: SearchSettings, actors: Actors
) -> dict[str, int]:
    """The position in a round up to which each limit pays, by field of Budget."""
    budget, ends = settings.budget, {}
    for name, price in (
        ("images", most_images),
        ("steps", most_steps),
        ("vlm_calls", partial(most_calls, settings=settings)),
    ):
        limit = getattr(budget, name)
        if limit is not None:
            left = requests[done:]
            prices = [price(request, actors) for request in left]
            room = price(FINISHING, actors)
            rooms = [room * only_previewed(request, actors) for request in left]
            ends[name] = done + affordable_count(limit - getattr(spent, name), prices, rooms)
    return ends


def affordable_count(left: float, prices: Sequence[int], rooms: Sequence[int]) -> int:
    """How many of the first requests `left` pays for; `rooms` is what must remain after each."""
    fits = (total + room <= left for total, room in zip(accumulate(prices), rooms, strict=True))
    return sum(takewhile(bool, fits))


def out_of_time(history: History, settings: SearchSettings) -> bool:
    """Whether one more batch, as slow as the slowest so far, would exceed the budget in seconds.

    Only the working time of actors counts. The first batch is always painted, and only a batch
    that is slower than all before it can exceed the budget.
    """
    limit, cost = settings.budget.seconds, history.cost
    return limit is not None and cost.total_seconds + cost.slowest > limit


def most_images(request: Request, actors: Actors) -> int:
    """How many finished pictures one request paints: 0 if it is only previewed, else 1."""
    return 0 if only_previewed(request, actors) else 1


def only_previewed(request: Request, actors: Actors) -> bool:
    """Whether only a preview of the request is painted."""
    return request.scout and isinstance(actors.painter_of(request), Previewing)


def most_steps(request: Request, actors: Actors) -> int:
    """The most diffusion steps that one request may take, its preview included."""
    painter, steps = actors.painter_of(request), painting_steps(request, actors)
    if request.scout and isinstance(painter, Previewing):
        return painter.preview_steps
    if request.speculative and isinstance(painter, Previewing):
        steps += painter.preview_steps
    return steps


def painting_steps(request: Request, actors: Actors) -> int:
    painter = actors.painter_of(request)
    if isinstance(request.seed, Restart) and isinstance(painter, Restarting):
        return painter.steps_from(request.seed.level)
    return painter.steps


def most_calls(request: Request, actors: Actors, settings: SearchSettings) -> int:
    """The most VLM calls of one request, from its texts to its verdict, as the actors estimate."""
    return sum(calls_by_phase(request, actors, settings).values())


def calls_by_phase(request: Request, actors: Actors, settings: SearchSettings) -> dict[str, int]:
    """The most VLM calls of one request in each phase."""
    looks = 1 + request.speculative + most_looks(settings, actors)
    calls = {"verify": actors.verifier.calls * looks}
    if request.asks_writer and actors.writer is not None:
        calls["reflect"] = actors.writer.calls
    if request.evolves and actors.evolver is not None:
        calls["evolve"] = actors.evolver.calls
    if request.stage is not None and actors.inspector is not None:
        calls["inspect"] = actors.inspector.calls
    return calls


class Estimating(Protocol):
    """A verifier, writer, evolver or inspector: `calls` is its estimate for one item."""

    calls: int


def limit_calls(budget: Budget, spent: int = 0) -> AbstractContextManager[Allowance]:
    """A context in which only the calls that the budget has left after `spent` can be made."""
    limit = budget.vlm_calls
    return calls_allowed(None if limit is None else max(0, limit - spent), limit)


def ask_within_budget(
    budget: Budget,
    spent: int,
    actor: Estimating,
    items: int,
    question: Callable[[], list[Answer]],
) -> tuple[list[Answer], int]:
    """Like `metered`, but limited to the calls that the budget has left after `spent`.

    Calls that the actor does not count itself are charged, too.
    """
    with limit_calls(budget, spent) as allowance:
        answers, calls = metered(actor, items, question)
    return answers, max(calls, allowance.taken)


def metered(
    actor: Estimating, items: int, question: Callable[[], list[Answer]]
) -> tuple[list[Answer], int]:
    """The answers to `items` items and the number of calls: counted, or the actor's estimate."""
    before = calls_so_far(actor)
    answers = question()
    after = calls_so_far(actor)
    if before is None or after is None:
        return answers, actor.calls * items
    return answers, after - before


def repeated_cost(requests: Sequence[Request], settings: SearchSettings, actors: Actors) -> Cost:
    """The highest cost of repeating an interrupted batch; nothing if no actor counts calls."""
    if not counts_calls(actors):
        return Cost()
    return Cost(vlm_calls=sum(most_calls(request, actors, settings) for request in requests))


def counts_calls(actors: Actors) -> bool:
    asked = (actors.verifier, actors.writer, actors.evolver, actors.inspector)
    return any(calls_so_far(actor) is not None for actor in asked)


def calls_so_far(actor: object) -> int | None:
    """All calls that an actor has made so far; None if it does not count them."""
    return actor.spent if isinstance(actor, Counting) else None
