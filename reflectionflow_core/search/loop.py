"""The search: batches of pictures, each judged before the next one is chosen.

It knows no model, file or screen: actors paint and judge, whoever consumes the generator saves and
shows. Every History that it yields is one candidate longer and can be read back and continued.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic

from ..protocols import SILENT, Actors, Progress
from ..record import History, InputError, Request
from ..settings import SearchSettings
from .budget import affordable_end, out_of_time, paid_ends, repeated_cost
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
    """ReflectionFlow (§3.4, Appendix C): reflect, evolve, paint and judge, batch after batch.

    Continues a given `history` and yields once for each new candidate. With `one_round` it ends
    after the round under way or the next one. The first step raises InputError for what cannot be
    searched. Raises UnjudgedError after a batch if the verifier judges nothing (`check_judged`).
    """
    check_search(prompt, settings, actors, history)
    team = Team(prompt, settings, actors, progress, clock)
    begun = None
    while batch := next_batch(history, settings, actors):
        if one_round and begun not in (None, batch.round_index):
            break
        begun = batch.round_index
        before = history.before(batch.round_index, batch.start)
        judged = team.judge(team.paint(team.write(batch, before, history.cost)))
        # After a crash in mid-batch all of it is painted again: a picture may depend on its batch.
        recorded, added = judged[: batch.recorded], judged[batch.recorded :]
        history = history.charged(team.batch_cost(recorded))
        for candidate, cost in added:
            history = history.extended(batch.round_index, (candidate,)).charged(cost)
            yield history
        check_judged(history, settings)


def next_batch(history: History, settings: SearchSettings, actors: Actors) -> Batch | None:
    """What is painted next, or None at the end: the strategy, then the budget and the stop rule.

    All follows from History and settings, so one that is read back from disk continues as before.
    """
    index, requests = replayed(history, settings)
    done = len(history.rounds[index]) if index < len(history.rounds) else 0
    recorded = done % settings.batch_size
    spent = history.cost + repeated_cost(requests[done - recorded : done], settings, actors)
    end = affordable_end(requests, done, spent, settings, actors)
    # A batch that a crash cut in two is completed first: nothing was asked after its first half.
    if done == end or (
        not recorded and (stopped(history, settings) or out_of_time(history, settings))
    ):
        return None
    start, affordable = done - recorded, requests[:end]
    batch = affordable[start : start + settings.batch_size]
    certain = not settings.may_cut_a_round and not any(each.speculative for each in affordable)
    return Batch(index, start, recorded, batch, affordable if certain else [])


def is_over(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """True if a search would paint nothing more."""
    return next_batch(history, settings, actors) is None


def goes_on(history: History, settings: SearchSettings) -> bool:
    """True if a search would paint more with a budget that pays for it."""
    return not stopped(history, settings) and bool(replayed(history, settings)[1])


def limit_reached(history: History, settings: SearchSettings, actors: Actors) -> str:
    """The limit of the budget, as the name of its field, that ends a search which would go on; ""
    if none does."""
    if not (goes_on(history, settings) and is_over(history, settings, actors)):
        return ""
    index, requests = replayed(history, settings)
    done = len(history.rounds[index]) if index < len(history.rounds) else 0
    again = requests[done - done % settings.batch_size : done]
    spent = history.cost + repeated_cost(again, settings, actors)
    ends = paid_ends(requests, done, spent, settings, actors)
    first = min(ends, key=ends.__getitem__, default="seconds")
    return first if ends.get(first, len(requests)) < len(requests) else "seconds"


def judged_again(history: History, settings: SearchSettings, actors: Actors) -> int:
    """How many pictures at the end of a history are painted and judged again when it is resumed:
    those that could not be judged, or none where the search would end without them."""
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
    """The round under way or the next one, to its end; a finished history comes back as it is."""
    for step in search(prompt, settings, actors, history, progress, one_round=True):
        history = step
    return history


def replayed(history: History, settings: SearchSettings) -> tuple[int, list[Request]]:
    """Index and requests of the round that is next or under way: the strategy, replayed.

    There are no requests if no round is left. What a person said steers them (`steered`). Raises
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
    """True if a finished picture meets the stop rule, and no person has excluded it; the preview of
    one does not. A score has to be that of the best of them, since that is handed out.
    """
    stop, finished = settings.stop, [c for c in history.eligible if c.finished]
    if stop == "never":
        return False
    if stop == "passed":
        return any(candidate.verdict.passed for candidate in finished)
    best = max(finished, key=lambda candidate: candidate.merit, default=None)
    if best is None or best.score is None or best.verdict.doubted:
        return False
    return best.score >= float(stop)
