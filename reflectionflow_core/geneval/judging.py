"""GenEval's protocol (Ghosh et al., 2023) over a folder of pictures, by a detector of transformers.

The rules are the official ones (`rules.py`), the detector is not: see LABEL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..evaluation.journal import Journal
from ..evaluation.pool import Crew, run_all
from ..evaluation.work import written
from ..flux.placement import device_named
from ..record import InputError
from .colours import load_colours
from .detectors import load_detector
from .device_check import Sight, check_sight, spread
from .examiner import GenEvalExaminer
from .folder import Sample, Shown, opened, prompts_of, shown
from .rules import Detection, counted_things, read_task
from .scores import LABEL


@dataclass(frozen=True, slots=True)
class Eyes:
    """Folders or hub ids of the detector and of the CLIP that names colours, and where they run."""

    detector: str
    colours: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The official line about a picture, and the test of who judged it."""

    index: int
    name: str
    line: Mapping[str, Any]
    sight: Sight


@dataclass(frozen=True)
class GenEval:
    """What is judged, by whom; `about` says what the numbers belong to."""

    samples: Sequence[Sample]
    eyes: Eyes
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Every task is read, before hours of judging."""
        tasks = [read_task(sample.metadata) for sample in self.samples]
        coloured = any(need.colour for task in tasks for need in task.include)
        if coloured and self.eyes.colours is None:
            raise InputError(
                "Some prompts ask for a colour, and nobody reads colours. Give a CLIP with "
                "--colour-judge; the official one is openai/clip-vit-large-patch14."
            )

    def journal(self, file: Path) -> Journal:
        asked = {"benchmark": "geneval", "label": LABEL, "about": dict(self.about)}
        return Journal(file, {**asked, "prompts": prompts_of(self.samples)})


def judge_all(geneval: GenEval, file: Path, crew: Crew) -> Iterator[int]:
    """Judges what is missing and yields how many pictures are done after each."""
    journal = geneval.journal(file)
    known = {(line["index"], line["name"]) for line in journal.lines(dict)}
    missing = [s for s in geneval.samples if (s.index, s.file.name) not in known]
    yield len(known)
    first = list({sample.index: sample for sample in reversed(geneval.samples)}.values())[::-1]
    test = [shown(first[place]) for place in spread(len(first))]
    work = partial(_judges, geneval.eyes, test)
    found = run_all(map(shown, missing), work, crew)
    for count, done in enumerate(found, start=len(known) + 1):
        journal.append({**asdict(done.value), "trace": written(done.trace)})
        yield count


def _judges(eyes: Eyes, test: Sequence[Shown]) -> Callable[[Shown], Judged]:
    """Who judges, after the test of sight on this very device."""
    place = device_named(eyes.device)
    device = str(place)
    examiner = examiner_of(eyes, device)
    reference = None if place.type == "cpu" else partial(examiner_of, eyes, "cpu")
    pictures = [(read_task(it.metadata), opened(it.png, it.file)) for it in test]
    return partial(_judged, examiner, check_sight(examiner, reference, pictures, device))


def examiner_of(eyes: Eyes, device: str) -> GenEvalExaminer:
    colours = load_colours(eyes.colours, device=device) if eyes.colours else None
    return GenEvalExaminer(load_detector(eyes.detector, device=device), colours)


def _judged(examiner: GenEvalExaminer, sight: Sight, it: Shown) -> Judged:
    task, image = read_task(it.metadata), opened(it.png, it.file)
    (things,) = examiner.finds(task, [image])
    verdict = examiner.judge(task, image, things)
    counted = counted_things(task, things, examiner.limits)
    line = {
        "filename": str(it.file),
        "tag": task.tag,
        "prompt": it.metadata["prompt"],
        "correct": bool(verdict.passed),
        "reason": "\n".join(verdict.unmet),
        "metadata": json.dumps(it.metadata),
        "details": json.dumps({name: _boxes(found) for name, found in counted.items() if found}),
    }
    return Judged(it.index, it.file.name, line, sight)


def _boxes(things: Sequence[Detection]) -> list[list[float]]:
    """Left, top, right, bottom, score; as the official program has them."""
    return [[*map(float, thing.box), float(thing.score)] for thing in things]
