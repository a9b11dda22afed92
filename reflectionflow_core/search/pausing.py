"""A search that asks a person after every round how to continue.

The answers are kept in the History, and the search replays them (`steering.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from types import MappingProxyType
from typing import Protocol

from ..feedback import Feedback, excluded
from ..protocols import SILENT, Actors, Progress
from ..record import Cost, History, InputError, Request
from ..settings import SearchSettings
from .attempt import prepared
from .budget import affordable_end, ask_within_budget, most_calls
from .loop import EMPTY, next_batch, replayed, search
from .team import complete


@dataclass(frozen=True, slots=True)
class Pause:
    """The state of a search between two rounds, as a person is asked about it.

    `requests` is the planned next round, with the writer's proposed reflections; empty if the
    search would end here.
    """

    prompt: str
    settings: SearchSettings
    actors: Actors
    history: History
    requests: tuple[Request, ...] = ()

    def check(self, said: Feedback) -> None:
        """InputError for a reflection or region of a picture that will not be corrected next."""
        answered = self.history.answered(said)
        requests = upcoming(answered, self.settings, self.actors)
        corrected = {id(request.parent) for request in requests if request.corrects}
        for number in (*said.reflections, *said.places):
            if id(list(answered)[number]) not in corrected:
                raise InputError(
                    f"Picture {number + 1} is not corrected in the next round, so what you say "
                    "about it has no effect. Pick it as the winner, or leave it out."
                )

    @property
    def planned(self) -> dict[int, list[str]]:
        """The reflections of the next round, by the number of the picture that they correct."""
        numbers, texts = _numbers(self.history), {}
        for request in self.requests:
            if request.corrects and request.parent is not None:
                texts.setdefault(numbers[id(request.parent)], []).append(request.reflection)
        return texts

    @property
    def shown(self) -> list[int]:
        """Numbers of the pictures to choose from: the latest round, the next parents, the best."""
        numbers, newest = _numbers(self.history), self.history.rounds[-1]
        parents = [request.parent for request in self.requests if request.parent is not None]
        out = excluded(self.history.feedback)
        return sorted({numbers[id(c)] for c in (*newest, *parents, self.history.best)} - out)

    @property
    def unchanged(self) -> Feedback:
        """The feedback to continue as planned; a prompt given earlier stays."""
        before = self.history.feedback
        return Feedback(len(self.history), prompt=before[-1].prompt if before else "")


def _numbers(history: History) -> dict[int, int]:
    """The number of each picture, by its identity."""
    return {id(candidate): number for number, candidate in enumerate(history)}


class Person(Protocol):
    def answer(self, pause: Pause, progress: Progress = SILENT) -> Feedback:
        """The person's feedback, `pause.unchanged` if there is none; `progress.check` may raise."""
        ...


def search_with_pauses(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    person: Person,
    history: History = EMPTY,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
) -> Generator[History]:
    """Like `search`, but asks a person after every round; yields before and after each answer, too.

    A history that ends with a whole round without an answer is asked about first, so a search that
    was killed while it waited asks again.
    """
    while True:
        if awaits_answer(history, settings, actors):
            history = yield from ask_person(
                prompt, settings, actors, person, history, progress, clock
            )
        before = len(history)
        steps = search(prompt, settings, actors, history, progress, clock, one_round=True)
        for history in steps:
            yield history
        if len(history) == before:
            return


def awaits_answer(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """Whether a round, or the search, has ended and no person has answered yet."""
    if not len(history) or any(said.after == len(history) for said in history.feedback):
        return False
    batch = next_batch(history, settings, actors)
    return batch is None or not (batch.start or batch.recorded)


def ask_person(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    person: Person,
    history: History,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
) -> Generator[History, None, History]:
    """Yields the history with the proposed reflections, which whoever is asked again gets without
    further cost; then with the answer, and returns that. Raises InputError for an answer without
    effect."""
    requests, proposed, cost = planned(prompt, settings, actors, history, progress, clock)
    history = replace(history, proposed=proposed if proposed.planned else None).charged(cost)
    yield history
    pause = Pause(prompt, settings, actors, history, requests)
    said = person.answer(pause, progress)
    pause.check(said)
    texts, pictures = proposed.planned, proposed.parents
    said = replace(said, planned=texts, parents=pictures, calls=proposed.calls)
    history = history.answered(said)
    yield history
    return history


def upcoming(history: History, settings: SearchSettings, actors: Actors) -> list[Request]:
    """The affordable requests of the next round; none if the search is over."""
    if next_batch(history, settings, actors) is None:
        return []
    _, requests = replayed(history, settings)
    return requests[: affordable_end(requests, 0, history.cost, settings, actors)]


def planned(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    history: History,
    progress: Progress,
    clock: Callable[[], float],
) -> tuple[tuple[Request, ...], Feedback, Cost]:
    """The next round's requests with their reflections, these as proposals, and the cost of writing
    them: none for those that the history has."""
    next_ones = upcoming(history, settings, actors)
    requests = [prepared(request, prompt, settings, history) for request in next_ones]
    known = history.proposed
    if known and known.after == len(history) and len(known.planned) == len(requests):
        return tuple(map(_proposing, requests, known.planned)), known, Cost()
    asked, writer = [request for request in requests if request.asks_writer], actors.writer
    if not asked or writer is None:
        return tuple(requests), Feedback(len(history)), Cost()
    progress.check()
    began = clock()
    later = [replace(request, reflection="-") for request in requests]  # without the writer's calls
    kept = sum(most_calls(request, actors, settings) for request in later)
    spent = history.cost.vlm_calls + kept
    question = partial(writer.reflect, prompt, asked, progress)
    texts, calls = ask_within_budget(settings.budget, spent, writer, len(asked), question)
    written = iter(complete(texts, len(asked), "reflect"))
    requests = [_proposing(r, next(written)) if r.asks_writer else r for r in requests]
    numbers = _numbers(history)
    proposed = Feedback(
        len(history),
        planned=tuple(r.reflection for r in requests),
        parents=tuple(numbers[id(r.parent)] if r.corrects else None for r in requests),
        calls=calls,
    )
    seconds = MappingProxyType({"reflect": clock() - began})
    return tuple(requests), proposed, Cost(vlm_calls=calls, seconds=seconds)


def _proposing(request: Request, reflection: str) -> Request:
    return replace(request, reflection=reflection) if request.asks_writer else request
