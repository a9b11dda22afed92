"""Where the actors work: tasks become texts, then pictures, then judged candidates.

Every question to an actor passes through `_ask`, which counts answers and seconds. Verifier, writer
and evolver are always asked about the user's own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType
from typing import TypeVar

from PIL.Image import Image

from ..protocols import Actors, Progress
from ..record import Candidate, Cost
from .task import Task

Answer = TypeVar("Answer")

ASKED_TO = {
    "draft": "generator",  # whatever it paints, also after round 0
    "correct": "corrector",
    "verify": "verifier",
    "reflect": "reflection writer",
    "evolve": "prompt evolver",
}


class ActorError(RuntimeError):
    """An actor did not answer every item that it was asked."""


@dataclass(frozen=True, slots=True)
class Studio:
    """Everyone who works on one prompt."""

    prompt: str
    actors: Actors
    progress: Progress
    clock: Callable[[], float]

    def write(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with their texts: reflections first, then prompts, as in the paper's §3.4."""
        return self._evolve(self._reflect([replace(task, prompt=self.prompt) for task in tasks]))

    def paint(self, batch: Sequence[Task]) -> list[tuple[Candidate, Cost]]:
        """A judged candidate for every task, in order, with all that it cost."""
        painted = [
            work
            for corrects, group in groupby(batch, key=lambda task: task.corrects)
            for work in (self._correct if corrects else self._draft)(list(group))
        ]
        images = [image for image, _ in painted]
        verifier = self.actors.verifier
        verdicts, judging = self._ask(
            "verify",
            len(images),
            lambda: verifier.verify(self.prompt, images, self.progress),
            Cost(vlm_calls=verifier.calls),
        )
        return [
            (
                Candidate(image, task.prompt, task.seed, verdict, task.reflection, task.parent),
                task.cost + painting + judging,
            )
            for task, (image, painting), verdict in zip(batch, painted, verdicts, strict=True)
        ]

    def _draft(self, tasks: list[Task]) -> list[tuple[Image, Cost]]:
        generator = self.actors.generator
        prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
        images, cost = self._ask(
            "draft",
            len(tasks),
            lambda: generator.generate(prompts, seeds, self.progress),
            Cost(images=1, steps=generator.steps),
        )
        return [(image, cost) for image in images]

    def _correct(self, tasks: list[Task]) -> list[tuple[Image, Cost]]:
        corrector = self.actors.corrector
        assert corrector is not None  # as for all seats below: the search has checked them
        parents = [parent.image for parent in parents_of(tasks)]
        prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
        reflections = [task.reflection for task in tasks]
        images, cost = self._ask(
            "correct",
            len(tasks),
            lambda: corrector.correct(parents, prompts, reflections, seeds, self.progress),
            Cost(images=1, steps=corrector.steps),
        )
        return [(image, cost) for image in images]

    def _reflect(self, tasks: list[Task]) -> list[Task]:
        asked = parents_of(task for task in tasks if task.corrects)
        if not asked:
            return tasks
        writer = self.actors.writer
        assert writer is not None
        reflections, cost = self._ask(
            "reflect",
            len(asked),
            lambda: writer.reflect(self.prompt, asked, self.progress),
            Cost(vlm_calls=writer.calls),
        )
        answer = iter(reflections)
        return [
            replace(task, reflection=next(answer), cost=task.cost + cost) if task.corrects else task
            for task in tasks
        ]

    def _evolve(self, tasks: list[Task]) -> list[Task]:
        asked = parents_of(task for task in tasks if task.evolves)
        if not asked:
            return tasks
        evolver = self.actors.evolver
        assert evolver is not None
        prompts, cost = self._ask(
            "evolve",
            len(asked),
            lambda: evolver.evolve(self.prompt, asked, self.progress),
            Cost(vlm_calls=evolver.calls),
        )
        answer = iter(prompts)
        return [
            replace(task, prompt=next(answer), cost=task.cost + cost) if task.evolves else task
            for task in tasks
        ]

    def _ask(
        self, phase: str, items: int, question: Callable[[], list[Answer]], each: Cost
    ) -> tuple[list[Answer], Cost]:
        """The answers to a batch of items, and the cost of one: `each` and a share of the time."""
        self.progress.check()
        began = self.clock()
        answers = complete(question(), items, phase)
        seconds = (self.clock() - began) / items
        return answers, replace(each, seconds=MappingProxyType({phase: seconds}))


def complete(answers: list[Answer], items: int, phase: str) -> list[Answer]:
    """The answers, if there is one for each of the items that an actor was asked."""
    if len(answers) != items:
        raise ActorError(
            f"The {ASKED_TO[phase]} was asked {items} items and answered {len(answers)}. "
            "An actor answers every item, in order, or raises."
        )
    return answers


def parents_of(tasks: Iterable[Task]) -> list[Candidate]:
    return [task.parent for task in tasks if task.parent is not None]
