"""The search itself: rounds of pictures, each batch judged before the next begins.

It knows no model, no file and no screen: actors paint and judge, consumers of the generator save
and show. Every History that it yields is one candidate longer and can be read back to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from time import monotonic

from ..protocols import SILENT, Actors, Progress
from ..record import Candidate, Cost, History, SearchSettings
from .agenda import agenda, check_request, finished, late, stopped
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
    check_request(prompt, settings, actors, history)
    while not finished(history, settings, actors):
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
    if finished(history, settings, actors):
        return history
    due = agenda(history, settings, actors)
    studio = Studio(prompt, actors, progress, clock)
    size = settings.batch_size
    began = clock()
    tasks = studio.write(due.tasks)
    # Pictures may depend in the last bit on their batch mates: half a batch is painted again whole.
    for start in range(due.painted - due.painted % size, len(tasks), size):
        painted = studio.paint(tasks[start : start + size])
        missing = painted[max(0, due.painted - start) :]
        slowest = Cost(slowest=clock() - began)
        *steps, history = grown(history.charged(slowest), due.round_index, missing)
        unpainted = sum((task.cost for task in tasks[start + size :]), Cost())
        over = stopped(history.rounds[-1], settings) or late(history.charged(unpainted), settings)
        # Texts of pictures that will never be painted were asked for and count too.
        history = history.charged(unpainted) if over else history
        yield from (*steps, history)
        if over:
            break
        began = clock()
    return history


def grown(
    history: History, round_index: int, works: Iterable[tuple[Candidate, Cost]]
) -> list[History]:
    """The history with one candidate more, with two more, and so on."""
    steps = []
    for candidate, cost in works:
        history = history.extended(round_index, (candidate,)).charged(cost)
        steps.append(history)
    return steps
