"""Checks that a detector works on this device before it may judge.

On some GPUs GenEval's official detector missed objects without an error, and results were too low.
Two checks on a few of the pictures to be judged:

1. Does the device give the same detections as the same weights in fp32 on the CPU? Independent of
the pictures; skipped if the detector itself runs that way. 2. Is any requested object found in at
least a quarter of the pictures? With damaged weights both    devices may agree and find nothing.
Models exceed a quarter by far for single objects; pictures    that really show less are rejected
too, which loses a result near zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL.Image import Image

from ..record import InputError
from .examiner import Examiner
from .rules import Detection, Task, overlap

PICTURES = 12  # pictures checked; some seconds each on a CPU
MIN_SEEN = 0.25  # lowest share of pictures with a detection
MIN_AGREED = 0.9  # lowest share of equal detections
SAME_BOX = 0.5  # lowest intersection over union
SAME_SCORE = 0.1

TaskImage = tuple[Task, Image]


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """`seen`: share of pictures with a requested object; `agreed`: share of detections equal to the
    reference's, None without a reference or without detections."""

    device: str
    pictures: int
    seen: float
    agreed: float | None


def check_device(
    examiner: Examiner,
    reference: Callable[[], Examiner] | None,
    shown: Sequence[TaskImage],
    device: str,
) -> DeviceCheck:
    """The result of the check; InputError for a detector that fails it.

    `reference` builds the same examiner in fp32 on the CPU; None if `examiner` already is one.
    """
    detected = [examiner.detect(task, [image])[0] for task, image in shown]
    seen = sum(bool(_confident(examiner, things)) for things in detected) / len(shown)
    agreed = None
    if reference:
        agreed = check_agreement(examiner, reference(), shown, detected, device)
    if seen < MIN_SEEN:
        raise InputError(
            f"On {device} the detector finds something that was asked for in {seen:.0%} of "
            f"{len(shown)} pictures, and {MIN_SEEN:.0%} are needed: it does not work, or the "
            "pictures show nothing. Look at some, then give another --detector or other pictures."
        )
    return DeviceCheck(device, len(shown), seen, agreed)


def check_agreement(
    ours: Examiner,
    theirs: Examiner,
    shown: Sequence[TaskImage],
    detected: Sequence[Sequence[Detection]],
    device: str,
) -> float | None:
    """The share of `detected` (our detections) that the reference `theirs` also finds.

    None if neither finds anything. InputError if the share is too small.
    """
    agreed = _agreement(ours, theirs, shown, detected)
    if agreed is not None and agreed < MIN_AGREED:
        raise InputError(
            f"On {device} the detector gives {agreed:.0%} of the answers that the same weights "
            f"give in fp32 on the CPU, and {MIN_AGREED:.0%} are needed, so its results would be "
            "wrong. Evaluate on the CPU with --device cpu, or with another version of torch."
        )
    return agreed


def spread(count: int, most: int = PICTURES) -> list[int]:
    """At most `most` evenly spread indices below `count`."""
    chosen = min(count, most)
    return [i * count // chosen for i in range(chosen)]


def _confident(examiner: Examiner, things: Sequence[Detection]) -> list[Detection]:
    return [thing for thing in things if thing.score > examiner.limits.confidence]


def _agreement(
    ours: Examiner,
    theirs: Examiner,
    shown: Sequence[TaskImage],
    detected: Sequence[Sequence[Detection]],
) -> float | None:
    """The share of detections and of their colours on which both agree; None without any."""
    answers = [
        answer
        for (task, image), things in zip(shown, detected, strict=True)
        for answer in _answers(ours, theirs, task, image, things)
    ]
    return sum(answers) / len(answers) if answers else None


def _answers(
    ours: Examiner,
    theirs: Examiner,
    task: Task,
    image: Image,
    things: Sequence[Detection],
) -> Iterator[bool]:
    (others,) = theirs.detect(task, [image])
    confident = _confident(ours, things)
    yield from (_has_match(thing, others) for thing in confident)
    yield from (_has_match(other, things) for other in _confident(theirs, others))
    coloured = {need.name for need in task.include if need.colour}
    asked = [thing for thing in confident if thing.name in coloured]
    if asked and ours.colours and theirs.colours:
        read = zip(
            ours.colours.colours(image, asked), theirs.colours.colours(image, asked), strict=True
        )
        yield from (colour == other for colour, other in read)


def _has_match(thing: Detection, others: Sequence[Detection]) -> bool:
    return any(
        other.name == thing.name
        and overlap(other.box, thing.box) >= SAME_BOX
        and abs(other.score - thing.score) <= SAME_SCORE
        for other in others
    )
