"""Where the actors work: tasks become texts, texts become pictures, and pictures are judged.

Every question to an actor passes through `_ask`, which counts answers, seconds and calls. Verifier,
writer, evolver and inspector are always asked about the user's own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from PIL.Image import Image

from ..phases import PHASES
from ..protocols import (
    Actors,
    Foreseeing,
    ForeseeingCorrector,
    Foresight,
    InContextCorrector,
    InContextEvolver,
    InContextWriter,
    Progress,
    Rechecking,
    Repainter,
)
from ..record import Candidate, Cost, Inspection, Restart, Seed, Stage, Verdict
from .meter import Asked, metered, shares
from .task import Task

Answer = TypeVar("Answer")
NOTHING = Cost()


class ActorError(RuntimeError):
    """An actor did not answer every item that it was asked."""


@dataclass(frozen=True, slots=True)
class Studio:
    """Everyone who works on one prompt.

    Pictures without a parent are painted from `draft_prompt`, unless a task has words of its own.
    With `recheck` corrections are judged by what their parents lacked.
    """

    prompt: str
    draft_prompt: str
    actors: Actors
    progress: Progress
    clock: Callable[[], float]
    recheck: bool = False
    stages: tuple[Stage, ...] = ()

    def write(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with their texts: reflections first, then prompts, as in the paper's §3.4."""
        begun = [replace(task, prompt=task.prompt or self._words(task)) for task in tasks]
        return self._evolve(self._reflect(begun))

    def _words(self, task: Task) -> str:
        if task.parent is None:
            return self.draft_prompt
        return task.parent.prompt if isinstance(task.seed, Restart) else self.prompt

    def judge(
        self, images: Sequence[Image], before: Sequence[Verdict | None] = ()
    ) -> list[tuple[Verdict, Cost]]:
        """The verdict on each picture; of a correction, `before` may be its parent's."""
        if not images:
            return []
        verifier = self.actors.verifier
        question = partial(verifier.verify, self.prompt, images, self.progress)
        if before and self.recheck and isinstance(verifier, Rechecking):
            question = partial(verifier.recheck, self.prompt, images, before, self.progress)
        return list(zip(*self._ask("verify", len(images), question, asked=verifier), strict=True))

    def inspect(
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
        question = partial(inspector.inspect, self.prompt, stages, drawn, self.progress)
        answers = iter(
            zip(*self._ask("inspect", len(asked), question, asked=inspector), strict=True)
        )
        return [(None, NOTHING) if task.stage is None else next(answers) for task in batch]

    def paint(self, tasks: Sequence[Task]) -> list[tuple[Image, Cost]]:
        """The pictures of tasks that are all painted in the same manner."""
        if tasks[0].corrects:
            return self._correct(tasks)
        return self._repaint(tasks) if isinstance(tasks[0].seed, Restart) else self._draft(tasks)

    def foresee(self, tasks: Sequence[Task]) -> list[tuple[Foresight, Cost]] | None:
        """How the pictures of such tasks will look, or None if their painter cannot tell."""
        generator, corrector = self.actors.generator, self.actors.corrector
        if not tasks[0].corrects and isinstance(generator, Foreseeing):
            phase, painter = "draft", generator
            question = partial(generator.foresee, *drafted_by(tasks), self.progress)
        elif tasks[0].corrects and isinstance(corrector, ForeseeingCorrector):
            phase, painter = "correct", corrector
            question = partial(corrector.foresee, *corrected_by(tasks), self.progress)
        else:
            return None
        each = Cost(steps=painter.foresight_steps)
        return list(zip(*self._ask(phase, len(tasks), question, each), strict=True))

    def _draft(self, tasks: Sequence[Task]) -> list[tuple[Image, Cost]]:
        generator = self.actors.generator
        question = partial(generator.generate, *drafted_by(tasks), self.progress)
        each = Cost(images=1, steps=generator.steps)
        return list(zip(*self._ask("draft", len(tasks), question, each), strict=True))

    def _repaint(self, tasks: Sequence[Task]) -> list[tuple[Image, Cost]]:
        generator = self.actors.generator
        assert isinstance(generator, Repainter)
        parents = [parent.image for parent in parents_of(tasks)]
        prompts = [task.prompt for task in tasks]
        seeds = [task.seed for task in tasks if isinstance(task.seed, Restart)]
        question = partial(generator.repaint, parents, prompts, seeds, self.progress)
        images, costs = self._ask("repaint", len(tasks), question, Cost(images=1))
        taken = [Cost(steps=generator.steps_from(seed.level)) for seed in seeds]
        return [(image, cost + own) for image, cost, own in zip(images, costs, taken, strict=True)]

    def _correct(self, tasks: Sequence[Task]) -> list[tuple[Image, Cost]]:
        corrector = self.actors.corrector
        assert corrector is not None  # as for all seats below: the search has checked them
        contexts = contexts_of(tasks)
        question = partial(corrector.correct, *corrected_by(tasks), self.progress)
        if contexts and isinstance(corrector, InContextCorrector):
            told = corrected_by(tasks)
            question = partial(corrector.correct_in_context, *told, contexts, self.progress)
        each = Cost(images=1, steps=corrector.steps)
        return list(zip(*self._ask("correct", len(tasks), question, each), strict=True))

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
            f"The {PHASES[phase].actor} was asked {items} items and answered {len(answers)}. "
            "An actor answers every item, in order, or raises."
        )
    return answers


def drafted_by(tasks: Sequence[Task]) -> tuple[list[str], list[Seed]]:
    """What a generator is told: prompts and seeds."""
    return [task.prompt for task in tasks], [task.seed for task in tasks]


def corrected_by(
    tasks: Sequence[Task],
) -> tuple[list[Image], list[str], list[str], list[Seed]]:
    """What a corrector is told: pictures, prompts, reflections and seeds."""
    parents = [parent.image for parent in parents_of(tasks)]
    prompts, seeds = drafted_by(tasks)
    return parents, prompts, [task.reflection for task in tasks], seeds


def parents_of(tasks: Iterable[Task]) -> list[Candidate]:
    return [task.parent for task in tasks if task.parent is not None]


def contexts_of(tasks: Sequence[Task]) -> list[tuple[Candidate, ...]]:
    """The context of each task; an empty list where none has any."""
    contexts = [task.context for task in tasks]
    return contexts if any(contexts) else []
