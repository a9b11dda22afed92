"""The search: batches of pictures, each judged before the next one is chosen.

It knows no model, file or screen: actors paint and judge, whoever consumes the generator saves and
shows. Every History that it yields is one candidate longer and can be read back and continued.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic

from ..protocols import SILENT, Actors, Progress
from ..record import History, InputError, Request, SearchSettings
from .budget import affordable_end, may_be_cut, would_overrun
from .checks import check_request
from .strategies import next_requests, rounds_of
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
        team.begin(history.before(batch.round_index, batch.start))
        judged = team.judge(team.paint(team.write(batch)))
        # A crash in mid-batch: all of it was painted again, since batch mates can change a picture.
        recorded, added = judged[: batch.recorded], judged[batch.recorded :]
        history = history.charged(team.overhead(recorded))
        for candidate, cost in added:
            history = history.extended(batch.round_index, (candidate,)).charged(cost)
            yield history
    return history


def next_batch(history: History, settings: SearchSettings, actors: Actors) -> Batch | None:
    """What is painted next, or None at the end: the strategy, then the budget and the stop rule.

    All follows from History and settings, so one that is read back from disk goes on where it was.
    """
    index, requests = replayed(history, settings)
    done = len(history.rounds[index]) if index < len(history.rounds) else 0
    end = affordable_end(requests, done, history.cost, settings, actors)
    recorded = done % settings.batch_size
    # A batch that a crash cut in two is completed first: nothing was asked after its first half.
    ended = not recorded and (stopped(history, settings) or would_overrun(history, settings))
    if done == end or ended:
        return None
    start, round_ = done - recorded, requests[:end]
    whole_round = [] if may_be_cut(round_, settings) else round_
    return Batch(index, start, recorded, round_[start : start + settings.batch_size], whole_round)


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
    rounds = rounds_of(settings)
    requests, planned = next(rounds, []), []
    for index, candidates in enumerate(history.rounds):
        planned.append(len(requests))
        under_way = index == len(history.rounds) - 1 and len(candidates) < len(requests)
        if under_way:
            return index, requests
        if len(candidates) != len(requests):
            sizes = [len(each) for each in history.rounds]
            raise InputError(
                f"The history has rounds of {sizes} pictures, the settings ask for {planned}. "
                "Resume with the width, drafts, depth and strategy that it was begun with."
            )
        # Without its cost: that of an earlier moment is not known any more.
        requests = next_requests(rounds, History(history.rounds[: index + 1]))
    return len(history.rounds), requests


def stopped(history: History, settings: SearchSettings) -> bool:
    """True if a finished picture meets the stop rule; the preview of one does not."""
    stop, candidates = settings.stop, history.finished
    if stop == "never":
        return False
    if stop == "passed":
        return any(candidate.verdict.passed for candidate in candidates)
    return any(candidate.score >= float(stop) for candidate in candidates)
