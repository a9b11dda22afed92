"""The search: batches of pictures, each judged before the next one is chosen.

It knows no model, file or screen: actors paint and judge, whoever consumes the generator saves and
shows. Every History that it yields is one candidate longer and can be read back and continued.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic

from ..protocols import SILENT, Actors, Progress
from ..record import History, InputError, Request, SearchSettings
from .budget import affordable_end
from .checks import check_request
from .strategies import rounds_of
from .team import Batch, Team

EMPTY = History()


def search(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History = EMPTY,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
    rounds: int | None = None,
) -> Generator[History, None, History]:
    """ReflectionFlow (§3.4, Appendix C): reflect, evolve, paint and judge, batch after batch.

    Continues a given `history` and yields once for each new candidate. With `rounds` it ends after
    so many, the one under way included. Raises InputError for what cannot be searched.
    """
    check_request(prompt, settings, actors, history)
    team = Team(prompt, settings, actors, progress, clock)
    first = None
    while batch := next_batch(history, settings, actors):
        first = batch.round_index if first is None else first
        if rounds is not None and batch.round_index >= first + rounds:
            break
        before = history.before(batch.round_index, batch.start)
        judged = team.judge(team.paint(team.write(batch, before)))
        # A crash in mid-batch: all of it was painted again, since batch mates can change a picture.
        recorded, added = judged[: batch.recorded], judged[batch.recorded :]
        history = history.charged(team.overhead(recorded))
        for candidate, cost in added:
            history = history.extended(batch.round_index, (candidate,)).charged(cost)
            yield history
    return history


def next_batch(history: History, settings: SearchSettings, actors: Actors) -> Batch | None:
    """What is painted next, or None at the end: the strategy, then the budget and the stop rule.

    All follows from History and settings, so one that is read back from disk continues as before.
    """
    index, requests = replayed(history, settings)
    done = len(history.rounds[index]) if index < len(history.rounds) else 0
    end = affordable_end(requests, done, history.cost, settings, actors)
    recorded = done % settings.batch_size
    # A batch that a crash cut in two is completed first: nothing was asked after its first half.
    if done == end or (not recorded and stopped(history, settings)):
        return None
    start, affordable = done - recorded, requests[:end]
    batch = affordable[start : start + settings.batch_size]
    certain = not settings.may_stop_early and not any(request.speculative for request in affordable)
    return Batch(index, start, recorded, batch, affordable if certain else [])


def finished(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """True if a search would paint nothing more."""
    return next_batch(history, settings, actors) is None


def run_round(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History = EMPTY,
    progress: Progress = SILENT,
) -> History:
    """The round under way or the next one, to its end; a finished history comes back as it is."""
    for step in search(prompt, settings, actors, history, progress, rounds=1):
        history = step
    return history


def replayed(history: History, settings: SearchSettings) -> tuple[int, list[Request]]:
    """Index and requests of the round that is next or under way: the strategy, replayed.

    There are no requests if no round is left. Raises InputError for a History whose rounds are not
    those of the strategy.
    """
    rounds, planned = rounds_of(settings), []
    requests = next(rounds)
    for index, candidates in enumerate(history.rounds):
        planned.append(len(requests))
        if len(candidates) < len(requests) and index == len(history.rounds) - 1:
            return index, requests
        if len(candidates) != len(requests):
            sizes = [len(each) for each in history.rounds]
            raise InputError(
                f"The history has rounds of {sizes} pictures, the settings ask for {planned}. "
                "Resume with the width, drafts, depth and strategy that it was begun with."
            )
        # Without its cost: that of an earlier moment is not known any more.
        requests = rounds.send(History(history.rounds[: index + 1]))
    return len(history.rounds), requests


def stopped(history: History, settings: SearchSettings) -> bool:
    """True if a finished picture meets the stop rule, or one more batch might take too long.

    The preview of a picture meets no rule. The seconds are those that actors work; a batch is
    expected to be as slow as the slowest so far, so only a slower one can exceed the budget. The
    first batch is always painted.
    """
    stop, limit, cost = settings.stop, settings.budget.seconds, history.cost
    if limit is not None and cost.total_seconds + cost.slowest > limit:
        return True
    if stop == "never":
        return False
    if stop == "passed":
        return any(candidate.verdict.passed for candidate in history.finished)
    return any(candidate.score >= float(stop) for candidate in history.finished)
