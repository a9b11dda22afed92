"""The search loop: choose requests, write their texts, paint, judge, append to the history.

It knows no model, file or screen: actors paint and judge, and the caller saves or shows what the
generator yields. Each History has one candidate more than the one before, and a search can be
continued from any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic

from ..protocols import SILENT, Actors, Progress
from ..record import Cost, History, InputError, Request
from ..settings import SearchSettings
from .budget import affordable_end, affordable_ends, out_of_time, repeated_cost
from .checks import check_search
from .steering import steered
from .strategies import rounds_of
from .team import Batch, Team
from .unjudged import check_judged, trailing_unjudged

EMPTY = History()


def search(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History = EMPTY,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
    one_round: bool = False,
) -> Generator[History]:
    """Runs ReflectionFlow (§3.4, Appendix C); yields the History after each new candidate.

    Continues from `history`. With `one_round` it ends after the current or next round. `clock`
    returns seconds. The first step raises InputError for what cannot be searched. UnjudgedError
    follows a batch of pictures that the verifier could not judge (`check_judged`).
    """
    check_search(prompt, settings, actors, history)
    team = Team(prompt, settings, actors, progress, clock)
    current_round = None
    while batch := next_batch(history, settings, actors):
        if one_round and current_round not in (None, batch.round_index):
            return
        current_round = batch.round_index
        before = history.before(batch.round_index, batch.start)
        attempts = team.write(batch, before, history.cost)
        attempts = team.paint(attempts)
        judged = team.judge(attempts)
        # After a crash in mid-batch all of it is painted again: a picture may depend on its batch.
        repeated, new = judged[: batch.recorded], judged[batch.recorded :]
        history = history.charged(team.batch_cost(repeated))
        for candidate, cost in new:
            history = history.extended(batch.round_index, (candidate,)).charged(cost)
            yield history
        check_judged(history, settings)


def next_batch(history: History, settings: SearchSettings, actors: Actors) -> Batch | None:
    """The requests to paint next, or None if the search is over.

    A pure function: a History that is read back from disk continues as before.
    """
    index, requests, done, spent = _current_round(history, settings, actors)
    recorded = done % settings.batch_size
    end = affordable_end(requests, done, spent, settings, actors)
    # A batch that a crash cut in two is completed first: nothing was decided within it.
    ended = not recorded and (stopped(history, settings) or out_of_time(history, settings))
    if done == end or ended:
        return None
    start, affordable = done - recorded, requests[:end]
    batch = affordable[start : start + settings.batch_size]
    certain = not settings.may_cut_a_round and not any(each.speculative for each in affordable)
    return Batch(index, start, recorded, batch, affordable if certain else [])


def _current_round(
    history: History, settings: SearchSettings, actors: Actors
) -> tuple[int, list[Request], int, Cost]:
    """Index and requests of the round under way or next, how many of them are painted, and the cost
    so far, with the calls that repeating an interrupted batch may take."""
    index, requests = replayed(history, settings)
    done = len(history.rounds[index]) if index < len(history.rounds) else 0
    repeated = requests[done - done % settings.batch_size : done]
    return index, requests, done, history.cost + repeated_cost(repeated, settings, actors)


def is_over(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """Whether the search would paint nothing more."""
    return next_batch(history, settings, actors) is None


def would_continue(history: History, settings: SearchSettings) -> bool:
    """Whether the search would paint more if its budget allowed it."""
    return not stopped(history, settings) and bool(replayed(history, settings)[1])


def limit_reached(history: History, settings: SearchSettings, actors: Actors) -> str:
    """The field of Budget whose limit ends a search that would continue; "" if none does."""
    if not (would_continue(history, settings) and is_over(history, settings, actors)):
        return ""
    _, requests, done, spent = _current_round(history, settings, actors)
    ends = affordable_ends(requests, done, spent, settings, actors)
    first = min(ends, key=ends.__getitem__, default="seconds")
    return first if ends.get(first, len(requests)) < len(requests) else "seconds"


def count_to_judge_again(history: History, settings: SearchSettings, actors: Actors) -> int:
    """How many pictures at the end of a history a resumed search paints and judges again: those
    that could not be judged, or none if the search would be over without them."""
    count = trailing_unjudged(history)
    if count and is_over(history.without_last(count), settings, actors):
        return 0
    return count


def run_round(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History = EMPTY,
    progress: Progress = SILENT,
) -> History:
    """Runs the current or next round to its end; returns a finished history as it is."""
    for step in search(prompt, settings, actors, history, progress, one_round=True):
        history = step
    return history


def replayed(history: History, settings: SearchSettings) -> tuple[int, list[Request]]:
    """Index and requests of the round under way or next, found by replaying the strategy.

    There are no requests if no round is left. A person's feedback steers them (`steered`). Raises
    InputError for a History whose rounds are not those of the strategy.
    """
    rounds, planned = rounds_of(settings), []
    requests = next(rounds)
    for index, candidates in enumerate(history.rounds):
        planned.append(len(requests))
        if len(candidates) < len(requests) and index == len(history.rounds) - 1:
            return index, steered(requests, history.before(index, 0), settings)
        if len(candidates) != len(requests):
            sizes = [len(each) for each in history.rounds]
            raise InputError(
                f"The history has rounds of {sizes} pictures, the settings ask for {planned}. "
                "Resume with the width, drafts, depth and strategy that it started with."
            )
        # Without its cost: that of an earlier moment is not known any more.
        requests = rounds.send(history.before(index + 1, 0))
    return len(history.rounds), steered(requests, history, settings)


def stopped(history: History, settings: SearchSettings) -> bool:
    """Whether a finished picture that no person has excluded meets the stop rule; with a score as
    the rule, the best one has to, since it is the result."""
    stop, finished = settings.stop, [c for c in history.eligible if c.finished]
    if stop == "never":
        return False
    if stop == "passed":
        return any(candidate.verdict.passed for candidate in finished)
    best = max(finished, key=lambda candidate: candidate.merit, default=None)
    if best is None or best.score is None or best.verdict.doubted:
        return False
    return best.score >= float(stop)
