"""The search itself: rounds of pictures, each batch judged before the next begins.

It knows no model, no file and no screen: actors paint and judge, consumers of the generator save
and show. Every History that it yields is one candidate longer and can be read back to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from time import monotonic

from ..protocols import SILENT, Actors, Progress, Remembering
from ..record import Candidate, Cost, History, SearchSettings
from .agenda import Agenda, agenda, check_request, late, over, spent_out, stopped
from .meter import counted
from .painting import paint
from .studio import Studio

NOTHING_YET = History()


def search(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History = NOTHING_YET,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
) -> Generator[History, None, History]:
    """ReflectionFlow (§3.4, Appendix C): rounds of corrections until nothing more is to paint.

    It yields after every batch, once for each new candidate. A given `history` is gone on with.
    """
    before = None
    while history is not before:  # a round that paints nothing gives back the history it was given
        before = history
        history = yield from round_steps(prompt, settings, actors, history, progress, clock)
    return history


def run_round(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History = NOTHING_YET,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
) -> History:
    """The round under way or the next one, to its end; a finished history comes back as it is."""
    for step in round_steps(prompt, settings, actors, history, progress, clock):
        history = step
    return history


def round_steps(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History = NOTHING_YET,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
) -> Generator[History, None, History]:
    """One round: choose parents, reflect, evolve; then batch by batch correct and verify (§3.4)."""
    check_request(prompt, settings, actors, history)
    due = agenda(history, settings, actors)
    while not over(due, history, settings):
        history = yield from paid_steps(prompt, settings, actors, history, due, progress, clock)
        if not due.cut:
            break
        due = agenda(history, settings, actors)
    return history


def paid_steps(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History,
    due: Agenda,
    progress: Progress,
    clock: Callable[[], float],
) -> Generator[History, None, History]:
    """What is due, batch by batch."""
    if isinstance(actors.verifier, Remembering):
        actors.verifier.remember(prompt, history.finished)
    words = settings.draft_prompt or prompt
    studio = Studio(prompt, words, actors, progress, clock, settings.recheck, settings.stages)
    size = settings.batch_size
    began = clock()
    # Texts are written for a whole round at once, unless its later batches may never be paid for.
    unsure = any(task.tentative for task in due.tasks)
    tasks = due.tasks if unsure else studio.write(due.tasks)
    # Pictures may depend in the last bit on their batch mates: half a batch is painted again whole.
    first = due.painted - due.painted % size
    history = history.charged(again([task.cost for task in tasks[:first]], actors))
    for start in range(first, len(tasks), size):
        before = history.before(due.round_index, start)
        batch = tasks[start : start + size]
        painted = paint(studio, studio.write(batch) if unsure else batch, before)
        known = max(0, due.painted - start)
        judged = [cost for _, cost in painted[:known]]
        spent = Cost(slowest=clock() - began) + again(judged, actors)
        *steps, history = grown(history.charged(spent), due.round_index, painted[known:])
        unpainted = sum((task.cost for task in tasks[start + size :]), Cost())
        spent = history.charged(unpainted)
        ends = (
            stopped(history.rounds[-1], settings)
            or late(spent, settings)
            or spent_out(spent, settings, actors)
        )
        # Texts of pictures that will never be painted were asked for and count too.
        history = history.charged(unpainted) if ends else history
        yield from (*steps, history)
        if ends:
            break
        began = clock()
    return history


def again(costs: Iterable[Cost], actors: Actors) -> Cost:
    """The calls of work that a round under way repeats, if the actors count what they ask.

    The books of the others read as if the search had never been interrupted.
    """
    return Cost(vlm_calls=sum(cost.vlm_calls for cost in costs) if counted(actors) else 0)


def grown(
    history: History, round_index: int, works: Iterable[tuple[Candidate, Cost]]
) -> list[History]:
    """The history with one candidate more, with two more, and so on."""
    steps = []
    for candidate, cost in works:
        history = history.extended(round_index, (candidate,)).charged(cost)
        steps.append(history)
    return steps
