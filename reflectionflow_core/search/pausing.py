"""A search with a person in it: after every round somebody may say how it goes on.

What is said is kept in the History, and the search replays it (`steering.py`).
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
from .attempt import begun
from .budget import affordable_end, most_calls, paid_from
from .loop import EMPTY, next_batch, replayed, search
from .team import complete


@dataclass(frozen=True, slots=True)
class Pause:
    """What a person is asked about: a search between two rounds.

    `requests` are the pictures of the next round as they are planned, with the reflections that
    their writer proposes; there are none if the search would end here.
    """

    prompt: str
    settings: SearchSettings
    actors: Actors
    history: History
    requests: tuple[Request, ...] = ()

    def check(self, said: Feedback) -> None:
        """Raises InputError for words and places of a picture that the next round would not
        correct."""
        answered = self.history.answered(said)
        requests = upcoming(answered, self.settings, self.actors)
        corrected = {id(request.parent) for request in requests if request.corrects}
        for number in (*said.reflections, *said.places):
            if id(list(answered)[number]) not in corrected:
                raise InputError(
                    f"Picture {number + 1} is not corrected in the next round, so what you say of "
                    "it would have no effect. Pick it as the winner, or leave it out."
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
        """The numbers of the pictures to choose from: the newest round's, the continued ones and
        the best."""
        numbers, newest = _numbers(self.history), self.history.rounds[-1]
        parents = [request.parent for request in self.requests if request.parent is not None]
        out = excluded(self.history.feedback)
        return sorted({numbers[id(c)] for c in (*newest, *parents, self.history.best)} - out)

    @property
    def unchanged(self) -> Feedback:
        """Go on as planned; a prompt that the person gave before stays."""
        before = self.history.feedback
        return Feedback(len(self.history), prompt=before[-1].prompt if before else "")


def _numbers(history: History) -> dict[int, int]:
    """The number of each picture, by its identity."""
    return {id(candidate): number for number, candidate in enumerate(history)}


class Person(Protocol):
    def answer(self, pause: Pause, progress: Progress = SILENT) -> Feedback:
        """What the person says, `pause.unchanged` for nothing; `progress.check` may cancel."""
        ...


def steered_search(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    person: Person,
    history: History = EMPTY,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
) -> Generator[History]:
    """`search` that asks a person after every round; yields also after each answer.

    A history that ends with a round is asked about first, unless it has the answer already. So a
    search that was killed while a person thought asks again.
    """
    while True:
        if is_asked_about(history, settings, actors):
            history = paused(prompt, settings, actors, person, history, progress, clock)
            yield history
        before = len(history)
        steps = search(prompt, settings, actors, history, progress, clock, one_round=True)
        for history in steps:
            yield history
        if len(history) == before:
            return


def is_asked_about(history: History, settings: SearchSettings, actors: Actors) -> bool:
    """Whether a round, or the search, has ended and nobody has said a word of it."""
    if not len(history) or any(said.after == len(history) for said in history.feedback):
        return False
    batch = next_batch(history, settings, actors)
    return batch is None or not (batch.start or batch.recorded)


def paused(
    prompt: str,
    settings: SearchSettings,
    actors: Actors,
    person: Person,
    history: History,
    progress: Progress = SILENT,
    clock: Callable[[], float] = monotonic,
) -> History:
    """The history with what the person says of it. Raises InputError for an answer that would have
    no effect."""
    requests, cost = planned(prompt, settings, actors, history, progress, clock)
    pause = Pause(prompt, settings, actors, history, requests)
    said = person.answer(pause, progress)
    pause.check(said)
    texts = tuple(request.reflection for request in requests) if cost.seconds else ()
    return history.answered(replace(said, planned=texts, calls=cost.vlm_calls)).charged(cost)


def upcoming(history: History, settings: SearchSettings, actors: Actors) -> list[Request]:
    """The requests of the next round, as far as the budget goes; none if the search is over."""
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
) -> tuple[tuple[Request, ...], Cost]:
    """The next round's requests with the reflections that are written for them, and their cost."""
    next_ones = upcoming(history, settings, actors)
    requests = [begun(request, prompt, settings, history) for request in next_ones]
    asked, writer = [request for request in requests if request.asks_writer], actors.writer
    if not asked or writer is None:
        return tuple(requests), Cost()
    progress.check()
    began = clock()
    later = [replace(request, reflection="-") for request in requests]  # they have their words
    kept = sum(most_calls(request, actors, settings) for request in later)
    spent = history.cost.vlm_calls + kept
    question = partial(writer.reflect, prompt, asked, progress)
    texts, calls = paid_from(settings.budget, spent, writer, len(asked), question)
    written = iter(complete(texts, len(asked), "reflect"))
    requests = [replace(r, reflection=next(written)) if r.asks_writer else r for r in requests]
    seconds = MappingProxyType({"reflect": clock() - began})
    return tuple(requests), Cost(vlm_calls=calls, seconds=seconds)
