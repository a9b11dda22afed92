"""Whether a detector sees on this device, asked before it may judge.

GenEval's official detector was found nearly blind on some GPUs: no error, only things that are not
found, and a result too low. Two questions about a few of the pictures that are to be judged:

1. Does the device answer as the same weights in fp32 on the CPU do? This is sound whatever the
   pictures show: nothing differs but device and number format. It is not asked where the
   detector itself runs so.
2. Is anything of what was asked found in at least a quarter of the pictures? Both may be
   blind, as with damaged weights, and then they agree. Painters of single things reach far more;
   one that really shows less is refused as well, with nothing lost but a result near zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL.Image import Image

from ..record import InputError
from .examiner import GenEvalExaminer
from .rules import Detection, Task, overlap

PICTURES = 12  # looked at; on a CPU some seconds each
SEEN = 0.25  # share of pictures with a find
AGREED = 0.9  # share of answers that are the same
SAME_BOX = 0.5  # intersection over union
SAME_SCORE = 0.1

Shown = tuple[Task, Image]


@dataclass(frozen=True, slots=True)
class Sight:
    """What the test found: the share of pictures with anything that was asked for, and the share of
    answers that the reference gave too; None where there was none, or nothing was found.
    """

    device: str
    pictures: int
    seen: float
    agreed: float | None


def check_sight(
    examiner: GenEvalExaminer,
    reference: Callable[[], GenEvalExaminer] | None,
    shown: Sequence[Shown],
    device: str,
) -> Sight:
    """The result of the test, or an InputError: nothing may be reported by one who cannot see.

    `reference` builds the same examiner in fp32 on the CPU; None where `examiner` is that one.
    """
    finds = [examiner.finds(task, [image])[0] for task, image in shown]
    seen = sum(bool(_sure(examiner, things)) for things in finds) / len(shown)
    agreed = _agreement(examiner, reference(), shown, finds) if reference else None
    if agreed is not None and agreed < AGREED:
        raise InputError(
            f"On {device} the detector gives {agreed:.0%} of the answers that the same weights "
            f"give in fp32 on the CPU, and {AGREED:.0%} are needed: what it would report is about "
            "the device. Evaluate on the CPU with --device cpu, or with another version of torch."
        )
    if seen < SEEN:
        raise InputError(
            f"On {device} the detector finds something of what was asked in {seen:.0%} of "
            f"{len(shown)} pictures, and {SEEN:.0%} are needed: it is blind, or the pictures show "
            "nothing. Look at some, then give other weights with --detector, or other pictures."
        )
    return Sight(device, len(shown), seen, agreed)


def spread(count: int, most: int = PICTURES) -> list[int]:
    """At most so many of `count` places, evenly spread over the kinds of tasks."""
    chosen = min(count, most)
    return [place * count // chosen for place in range(chosen)]


def _sure(examiner: GenEvalExaminer, things: Sequence[Detection]) -> list[Detection]:
    return [thing for thing in things if thing.score > examiner.limits.confidence]


def _agreement(
    ours: GenEvalExaminer,
    theirs: GenEvalExaminer,
    shown: Sequence[Shown],
    finds: Sequence[Sequence[Detection]],
) -> float | None:
    """The share of finds that the other has too, and of their colours; None without any find."""
    answers = [
        answer
        for (task, image), things in zip(shown, finds, strict=True)
        for answer in _compared(ours, theirs, task, image, things)
    ]
    return sum(answers) / len(answers) if answers else None


def _compared(
    ours: GenEvalExaminer,
    theirs: GenEvalExaminer,
    task: Task,
    image: Image,
    things: Sequence[Detection],
) -> Iterator[bool]:
    (others,) = theirs.finds(task, [image])
    sure = _sure(ours, things)
    yield from (_found(thing, others) for thing in sure)
    yield from (_found(other, things) for other in _sure(theirs, others))
    coloured = {need.name for need in task.include if need.colour}
    asked = [thing for thing in sure if thing.name in coloured]
    if asked and ours.colours and theirs.colours:
        read = zip(
            ours.colours.colours(image, asked), theirs.colours.colours(image, asked), strict=True
        )
        yield from (colour == other for colour, other in read)


def _found(thing: Detection, others: Sequence[Detection]) -> bool:
    return any(
        other.name == thing.name
        and overlap(other.box, thing.box) >= SAME_BOX
        and abs(other.score - thing.score) <= SAME_SCORE
        for other in others
    )
