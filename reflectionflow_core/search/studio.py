"""Where the actors work: tasks become texts, then pictures, then judged candidates.

Every question to an actor passes through `_ask`, which counts answers, seconds and calls. Verifier,
writer and evolver are always asked about the user's own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType
from typing import TypeVar

from PIL.Image import Image

from ..protocols import Actors, Progress, Rechecking
from ..record import Candidate, Cost, Verdict
from .meter import Asked, metered, shares
from .task import Task

Answer = TypeVar("Answer")
NOTHING = Cost()

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
    """Everyone who works on one prompt.

    Pictures without a parent are painted from `draft_prompt`. With `recheck` corrections are
    judged by what their parents lacked.
    """

    prompt: str
    draft_prompt: str
    actors: Actors
    progress: Progress
    clock: Callable[[], float]
    recheck: bool = False

    def write(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with their texts: reflections first, then prompts, as in the paper's §3.4."""
        texts = [self.prompt if task.parent else self.draft_prompt for task in tasks]
        begun = [replace(task, prompt=text) for task, text in zip(tasks, texts, strict=True)]
        return self._evolve(self._reflect(begun))

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
            lambda: self._judge(batch, images),
            asked=verifier,
        )
        return [
            (
                Candidate(
                    image,
                    task.prompt,
                    task.seed,
                    verdict,
                    task.reflection,
                    task.parent,
                    task.action,
                ),
                task.cost + painting + cost,
            )
            for task, (image, painting), verdict, cost in zip(
                batch, painted, verdicts, judging, strict=True
            )
        ]

    def _judge(self, batch: Sequence[Task], images: list[Image]) -> list[Verdict]:
        verifier = self.actors.verifier
        if not (self.recheck and isinstance(verifier, Rechecking)):
            return verifier.verify(self.prompt, images, self.progress)
        before = [
            task.parent.verdict
            if task.parent and task.corrects and task.parent.verdict.unmet
            else None
            for task in batch
        ]
        return verifier.recheck(self.prompt, images, before, self.progress)

    def _draft(self, tasks: list[Task]) -> list[tuple[Image, Cost]]:
        generator = self.actors.generator
        prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
        images, costs = self._ask(
            "draft",
            len(tasks),
            lambda: generator.generate(prompts, seeds, self.progress),
            Cost(images=1, steps=generator.steps),
        )
        return list(zip(images, costs, strict=True))

    def _correct(self, tasks: list[Task]) -> list[tuple[Image, Cost]]:
        corrector = self.actors.corrector
        assert corrector is not None  # as for all seats below: the search has checked them
        parents = [parent.image for parent in parents_of(tasks)]
        prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
        reflections = [task.reflection for task in tasks]
        images, costs = self._ask(
            "correct",
            len(tasks),
            lambda: corrector.correct(parents, prompts, reflections, seeds, self.progress),
            Cost(images=1, steps=corrector.steps),
        )
        return list(zip(images, costs, strict=True))

    def _reflect(self, tasks: list[Task]) -> list[Task]:
        asked = parents_of(task for task in tasks if task.corrects)
        if not asked:
            return tasks
        writer = self.actors.writer
        assert writer is not None
        reflections, costs = self._ask(
            "reflect",
            len(asked),
            lambda: writer.reflect(self.prompt, asked, self.progress),
            asked=writer,
        )
        answer, cost = iter(reflections), iter(costs)
        return [
            replace(task, reflection=next(answer), cost=task.cost + next(cost))
            if task.corrects
            else task
            for task in tasks
        ]

    def _evolve(self, tasks: list[Task]) -> list[Task]:
        asked = parents_of(task for task in tasks if task.evolves)
        if not asked:
            return tasks
        evolver = self.actors.evolver
        assert evolver is not None
        prompts, costs = self._ask(
            "evolve",
            len(asked),
            lambda: evolver.evolve(self.prompt, asked, self.progress),
            asked=evolver,
        )
        answer, cost = iter(prompts), iter(costs)
        return [
            replace(task, prompt=next(answer), cost=task.cost + next(cost))
            if task.evolves
            else task
            for task in tasks
        ]

    def _ask(
        self,
        phase: str,
        items: int,
        question: Callable[[], list[Answer]],
        each: Cost = NOTHING,
        asked: Asked | None = None,
    ) -> tuple[list[Answer], list[Cost]]:
        """The answers to a batch of items, and the cost of each: `each`, a share of the time, and
        of the calls of whoever is `asked`.
        """
        self.progress.check()
        began = self.clock()
        answers, calls = metered(asked, items, question) if asked else (question(), 0)
        answers = complete(answers, items, phase)
        seconds = MappingProxyType({phase: (self.clock() - began) / items})
        costs = [replace(each, vlm_calls=n, seconds=seconds) for n in shares(calls, items)]
        return answers, costs


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
