"""Where the actors work: tasks become texts, then pictures, then judged candidates.

Every question to an actor passes through `_ask`, which counts answers, seconds and calls. Verifier,
writer, evolver and inspector are always asked about the user's own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType
from typing import TypeVar

from PIL.Image import Image

from ..protocols import (
    Actors,
    InContextCorrector,
    InContextEvolver,
    InContextWriter,
    Progress,
)
from ..record import Candidate, Cost, Inspection, Stage
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
    "inspect": "inspector",
}


class ActorError(RuntimeError):
    """An actor did not answer every item that it was asked."""


@dataclass(frozen=True, slots=True)
class Studio:
    """Everyone who works on one prompt.

    Pictures without a parent are painted from `draft_prompt`, unless a task has words of its own.
    """

    prompt: str
    draft_prompt: str
    actors: Actors
    progress: Progress
    clock: Callable[[], float]
    stages: tuple[Stage, ...] = ()

    def write(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with their texts: reflections first, then prompts, as in the paper's §3.4."""
        texts = [
            task.prompt or (self.prompt if task.parent else self.draft_prompt) for task in tasks
        ]
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
            lambda: verifier.verify(self.prompt, images, self.progress),
            asked=verifier,
        )
        looked_at = self._inspect(batch, images)
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
                    task.stage,
                    inspection,
                ),
                task.cost + painting + cost + looking,
            )
            for task, (image, painting), verdict, cost, (inspection, looking) in zip(
                batch, painted, verdicts, judging, looked_at, strict=True
            )
        ]

    def _inspect(
        self, batch: Sequence[Task], images: Sequence[Image]
    ) -> list[tuple[Inspection | None, Cost]]:
        """What the inspector says of each picture of a stage; None of the others."""
        asked = [
            (self.stages[task.stage], image)
            for task, image in zip(batch, images, strict=True)
            if task.stage is not None
        ]
        if not asked:
            return [(None, NOTHING)] * len(batch)
        inspector = self.actors.inspector
        assert inspector is not None
        stages, drawn = zip(*asked, strict=True)
        inspections, costs = self._ask(
            "inspect",
            len(asked),
            lambda: inspector.inspect(self.prompt, stages, drawn, self.progress),
            asked=inspector,
        )
        answers = iter(zip(inspections, costs, strict=True))
        return [(None, NOTHING) if task.stage is None else next(answers) for task in batch]

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
        told, contexts = [task.reflection for task in tasks], contexts_of(tasks)

        def correct() -> list[Image]:
            if contexts and isinstance(corrector, InContextCorrector):
                return corrector.correct_in_context(
                    parents, prompts, told, seeds, contexts, self.progress
                )
            return corrector.correct(parents, prompts, told, seeds, self.progress)

        images, costs = self._ask(
            "correct", len(tasks), correct, Cost(images=1, steps=corrector.steps)
        )
        return list(zip(images, costs, strict=True))

    def _reflect(self, tasks: list[Task]) -> list[Task]:
        chosen = [task for task in tasks if task.asks_writer]
        if not chosen:
            return tasks
        writer, asked, contexts = self.actors.writer, parents_of(chosen), contexts_of(chosen)
        assert writer is not None

        def reflect() -> list[str]:
            if contexts and isinstance(writer, InContextWriter):
                return writer.reflect_in_context(self.prompt, asked, contexts, self.progress)
            return writer.reflect(self.prompt, asked, self.progress)

        reflections, costs = self._ask("reflect", len(asked), reflect, asked=writer)
        answer, cost = iter(reflections), iter(costs)
        return [
            replace(task, reflection=next(answer), cost=task.cost + next(cost))
            if task.asks_writer
            else task
            for task in tasks
        ]

    def _evolve(self, tasks: list[Task]) -> list[Task]:
        chosen = [task for task in tasks if task.evolves]
        if not chosen:
            return tasks
        evolver, asked, contexts = self.actors.evolver, parents_of(chosen), contexts_of(chosen)
        assert evolver is not None

        def evolve() -> list[str]:
            if contexts and isinstance(evolver, InContextEvolver):
                return evolver.evolve_in_context(self.prompt, asked, contexts, self.progress)
            return evolver.evolve(self.prompt, asked, self.progress)

        prompts, costs = self._ask("evolve", len(asked), evolve, asked=evolver)
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


def contexts_of(tasks: Sequence[Task]) -> list[tuple[Candidate, ...]]:
    """The context of each task; an empty list where none has any."""
    contexts = [task.context for task in tasks]
    return contexts if any(contexts) else []
