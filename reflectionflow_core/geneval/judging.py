"""GenEval's protocol (Ghosh et al., 2023) on a folder of pictures.

The rules are the official ones; the detector is another one, hence LABEL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..detection.colours import load_colours
from ..detection.detectors import load_detector
from ..detection.device_check import DeviceCheck, check_device, spread
from ..detection.examiner import Examiner
from ..detection.rules import Detection, counted_detections
from ..evaluation.journal import Journal
from ..evaluation.pool import WorkerPool
from ..flux.placement import device_named
from ..record import InputError
from .folder import LoadedSample, Sample, decoded, load_sample, prompts_of
from .scores import LABEL
from .tasks import read_task


@dataclass(frozen=True, slots=True)
class DetectorChoice:
    """Folders or hub IDs of the detector and of the CLIP for colours, and their device."""

    detector: str
    colours: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedPicture:
    """The official line for a picture, and the check of its detector."""

    index: int
    name: str
    line: Mapping[str, Any]
    sight: DeviceCheck


@dataclass(frozen=True)
class GenEvalRun:
    """What is judged, by which detector; `about` describes the results."""

    samples: Sequence[Sample]
    detector: DetectorChoice
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Rejects invalid tasks before hours of judging."""
        tasks = [read_task(sample.metadata) for sample in self.samples]
        coloured = any(need.colour for task in tasks for need in task.include)
        if coloured and self.detector.colours is None:
            raise InputError(
                "Some prompts ask for a colour, which needs a CLIP. Give one with "
                "--colour-judge; the official one is openai/clip-vit-large-patch14."
            )

    def journal(self, file: Path) -> Journal:
        header = {"benchmark": "geneval", "label": LABEL, "about": dict(self.about)}
        return Journal(file, {**header, "prompts": prompts_of(self.samples)})


def judge_all(geneval: GenEvalRun, file: Path, pool: WorkerPool) -> Iterator[int]:
    """Judges the missing pictures; yields the number done after each."""
    journal = geneval.journal(file)
    first = list({sample.index: sample for sample in reversed(geneval.samples)}.values())[::-1]
    test = [load_sample(first[index]) for index in spread(len(first))]
    work = partial(_checked_judge, geneval.detector, test)
    with journal.locked():
        known = {(line["index"], line["name"]) for line in journal.lines(dict)}
        missing = [s for s in geneval.samples if (s.index, s.file.name) not in known]
        yield from journal.run(map(load_sample, missing), len(known), work, pool)


def _checked_judge(
    choice: DetectorChoice, test: Sequence[LoadedSample]
) -> Callable[[LoadedSample], JudgedPicture]:
    """The judge, after checking its detector on this device."""
    device = device_named(choice.device)
    examiner = load_examiner(choice, str(device))
    reference = None if device.type == "cpu" else partial(load_examiner, choice, "cpu")
    pictures = [(read_task(it.metadata), decoded(it.png, it.file)) for it in test]
    return partial(_judged, examiner, check_device(examiner, reference, pictures, str(device)))


def load_examiner(choice: DetectorChoice, device: str) -> Examiner:
    colours = load_colours(choice.colours, device=device) if choice.colours else None
    return Examiner(load_detector(choice.detector, device=device), colours)


def _judged(examiner: Examiner, sight: DeviceCheck, it: LoadedSample) -> JudgedPicture:
    task, image = read_task(it.metadata), decoded(it.png, it.file)
    (things,) = examiner.detect(task, [image])
    verdict = examiner.judge(task, image, things)
    counted = counted_detections(task, things, examiner.limits)
    line = {
        "filename": str(it.file),
        "tag": task.tag,
        "prompt": it.metadata["prompt"],
        "correct": bool(verdict.passed),
        "reason": "\n".join(verdict.unmet),
        "metadata": json.dumps(it.metadata),
        "details": json.dumps({name: _boxes(found) for name, found in counted.items() if found}),
    }
    return JudgedPicture(it.index, it.file.name, line, sight)


def _boxes(things: Sequence[Detection]) -> list[list[float]]:
    """Left, top, right, bottom and score, as in the official program."""
    return [[*map(float, thing.box), float(thing.score)] for thing in things]
