"""A batch of tasks becomes judged candidates; hopeless pictures are dropped before their painting.

What is hopeless is decided by the verifier alone: it judges a foresight as it judges a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL.Image import Image

from ..protocols import Remembering
from ..record import Candidate, Cost, History, Inspection, Restart, Verdict
from .studio import Studio
from .task import Task


@dataclass(frozen=True, slots=True)
class Work:
    """A picture and what it cost; one that was dropped comes with the verdict on its foresight."""

    image: Image
    cost: Cost
    verdict: Verdict | None = None


def paint(studio: Studio, batch: Sequence[Task], before: History) -> list[tuple[Candidate, Cost]]:
    """A judged candidate for every task, in order, with all that it cost.

    `before` is what the search had when it came to this batch.
    """
    works = [
        work
        for _, group in groupby(batch, key=manner)
        for work in _worked(studio, list(group), before)
    ]
    kept = [(t, work) for t, work in zip(batch, works, strict=True) if work.verdict is None]
    judged = iter(studio.judge([work.image for _, work in kept], [corrected(t) for t, _ in kept]))
    looked_at = studio.inspect(batch, [work.image for work in works])
    painted = []
    for task, work, (inspection, looking) in zip(batch, works, looked_at, strict=True):
        verdict, judging = (work.verdict, Cost()) if work.verdict else next(judged)
        candidate = _candidate(task, work, verdict, inspection)
        painted.append((candidate, task.cost + work.cost + judging + looking))
    return painted


def corrected(task: Task) -> Verdict | None:
    """The verdict whose `unmet` a task corrects."""
    verdict = task.parent.verdict if task.parent and task.corrects else None
    return verdict if verdict and verdict.unmet else None


def manner(task: Task) -> tuple[bool, ...]:
    """Tasks of one manner go to their painter together."""
    return task.corrects, isinstance(task.seed, Restart), task.tentative


def _worked(studio: Studio, tasks: Sequence[Task], before: History) -> list[Work]:
    """Tasks of one manner, painted or dropped."""
    looks = _looks(studio, tasks, before) if tasks[0].tentative else [None] * len(tasks)
    kept = [task for task, look in zip(tasks, looks, strict=True) if not (look and look.verdict)]
    pictures = iter(studio.paint(kept) if kept else [])
    works = []
    for look in looks:
        if look and look.verdict:
            works.append(look)
        else:
            image, cost = next(pictures)
            works.append(Work(image, look.cost + cost if look else cost))
    return works


def _looks(studio: Studio, tasks: Sequence[Task], before: History) -> list[Work | None]:
    """What is foreseen of each task, with a verdict if that is hopeless; None: nobody has looked,
    since there is nothing to improve on or the painter cannot tell.
    """
    rivals = [task.parent or (before.best if before.finished else None) for task in tasks]
    foreseen = studio.foresee(tasks) if all(rivals) else None
    if foreseen is None:
        return [None] * len(tasks)
    judged = iter(studio.judge([look.image for look, _ in foreseen if look.clear]))
    if isinstance(studio.actors.verifier, Remembering):
        # No picture shall be compared with what was only foreseen.
        studio.actors.verifier.remember(studio.prompt, before.finished)
    looks: list[Work | None] = []
    for rival, (look, cost) in zip(filter(None, rivals), foreseen, strict=True):
        verdict, judging = next(judged) if look.clear else (None, Cost())
        hopeless = verdict is not None and not verdict.passed and verdict.score <= rival.score
        looks.append(Work(look.image, cost + judging, verdict if hopeless else None))
    return looks


def _candidate(
    task: Task, work: Work, verdict: Verdict, inspection: Inspection | None
) -> Candidate:
    return Candidate(
        work.image,
        task.prompt,
        task.seed,
        verdict,
        task.reflection,
        task.parent,
        task.action,
        work.cost.steps,
        finished=work.verdict is None,
        stage=task.stage,
        inspection=inspection,
    )
