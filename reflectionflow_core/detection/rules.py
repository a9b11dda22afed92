"""GenEval's rules (Ghosh et al., 2023): compare detections with what a prompt asks for.

Independent of detector and colour classifier. `writers/template.py` relies on the wording of
`unmet`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from ..record import Verdict
from .words import quantity

MIN_OFFSET = 0.1  # relative to both sizes together; smaller offsets are not a position
MIN_COMPONENT = 0.5  # share of the offset that must lie in a direction
RELATIONS = ("left of", "right of", "above", "below")
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A detected object; `score` is 0 to 1, `mask` (height, width) bool or None."""

    name: str
    score: float
    box: Box
    mask: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class DetectionLimits:
    """Which detections count. The defaults are GenEval's own for Mask2Former.

    A score must exceed `confidence`, or `counting` in counting tasks. A box that overlaps a
    higher-scored one of its class by `max_overlap` (intersection over union) is a duplicate; 1
    keeps all boxes.
    """

    confidence: float = 0.3
    counting: float = 0.9
    max_overlap: float = 1.0
    max_objects: int = 16  # objects per class, by score


OFFICIAL = DetectionLimits()


@dataclass(frozen=True, slots=True)
class Need:
    """`count` objects of a class, with an optional colour and position.

    `relation` is their position relative to the objects of the earlier need at index `target`.
    """

    name: str
    count: int = 1
    colour: str | None = None
    relation: str | None = None
    target: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What a prompt asks for. For each need in `exclude` there must be fewer than `count` objects.

    `tag` is GenEval's kind of task; "counting" requires higher scores.
    """

    tag: str
    include: tuple[Need, ...]
    exclude: tuple[Need, ...] = ()


ReadColours = Callable[[Sequence[Detection]], Sequence[str]]  # the colour of each thing


def counted_detections(
    task: Task, detections: Sequence[Detection], limits: DetectionLimits = OFFICIAL
) -> dict[str, list[Detection]]:
    """The detections that count, by class and in order of score; ties in the detector's order.

    As in the official program, `max_objects` per class are taken before duplicates are removed.
    """
    least = limits.counting if task.tag == "counting" else limits.confidence
    found: dict[str, list[Detection]] = {}
    taken: Counter[str] = Counter()
    for thing in sorted(detections, key=lambda thing: -thing.score):
        if thing.score <= least or taken[thing.name] == limits.max_objects:
            continue
        taken[thing.name] += 1
        alike = found.setdefault(thing.name, [])
        if limits.max_overlap == 1 or not any(
            overlap(thing.box, other.box) >= limits.max_overlap for other in alike
        ):
            alike.append(thing)
    return found


def overlap(a: Box, b: Box) -> float:
    """The intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return both / (areas - both) if areas > both else 0.0


def relations(first: Box, second: Box) -> set[str]:
    """The position of the first box relative to the second: up to two of RELATIONS."""
    offset = [(first[i] + first[i + 2] - second[i] - second[i + 2]) / 2 for i in (0, 1)]
    sizes = [first[i + 2] - first[i] + second[i + 2] - second[i] for i in (0, 1)]
    beyond = [max(abs(o) - MIN_OFFSET * size, 0.0) for o, size in zip(offset, sizes, strict=True)]
    if max(beyond) < 1e-3:
        return set()
    length = hypot(*offset)
    sides = (("left of", "right of"), ("above", "below"))
    return {
        names[o > 0]
        for names, o, part in zip(sides, offset, beyond, strict=True)
        if part / length > MIN_COMPONENT
    }


def examine(
    task: Task,
    detections: Sequence[Detection],
    colouring: ReadColours,
    limits: DetectionLimits = OFFICIAL,
) -> Verdict:
    """Whether a picture shows what is asked, by GenEval's rules, and what is wrong.

    `passed` is GenEval's result. The score is the share of demands that are met, 0 to 1: a class
    with its number, a colour, a position and an exclusion are one demand each. A partly met one
    counts partly: two of three objects, one of two red ones, one too many where two are allowed.
    `colouring` is only called for needs with a colour.
    """
    found = counted_detections(task, detections, limits)
    faults = [finding for finding in findings(task, found, colouring) if finding.text]
    unmet = tuple(finding.text for finding in faults)
    return Verdict(share_met(task, faults), not unmet, unmet=unmet, explanation=seen(found))


@dataclass(frozen=True, slots=True)
class Finding:
    """The rules' result for one need: a fault in words, or "".

    `things` are the objects concerned; `lost` is the number of unmet demands, including fractions.
    `kind` is "right", "missing", "colour", "position" or "extra".
    """

    kind: str
    need: Need
    things: tuple[Detection, ...] = ()
    text: str = ""
    lost: float = 0.0


def share_met(task: Task, faults: Sequence[Finding]) -> float:
    """The share of a task's demands that are met, 0 to 1."""
    demanded = demands(task)
    lost = sum(fault.lost for fault in faults)
    return (demanded - lost) / demanded if demanded else 1.0


def demands(task: Task) -> int:
    """The number of a task's demands, see `examine`."""
    return sum(map(_demands, task.include)) + len(task.exclude)


def _demands(need: Need) -> int:
    return 1 + bool(need.colour) + bool(need.relation)


def findings(
    task: Task, found: Mapping[str, Sequence[Detection]], colouring: ReadColours
) -> list[Finding]:
    """The result for each need from the detections that count."""
    said: list[Finding] = []
    groups: list[Sequence[Detection]] = []  # objects of each need so far, empty if too few
    for need in task.include:
        things = found.get(need.name, [])[: need.count]
        wrong = _wrong(need, things, task.include, groups, colouring)
        bad = {id(thing) for finding in wrong for thing in finding.things}
        right = tuple(thing for thing in things if id(thing) not in bad)
        said += [Finding("right", need, right), *wrong]
        groups.append(things if len(things) == need.count else ())
    for need in task.exclude:
        surplus = tuple(found.get(need.name, ())[need.count - 1 :])
        if surplus:
            what = need.name if len(surplus) == 1 else quantity(len(surplus), need.name)
            lost = len(surplus) / (len(surplus) + need.count - 1)
            said.append(Finding("extra", need, surplus, f"extra {what}", lost))
    return said


def _wrong(
    need: Need,
    things: Sequence[Detection],
    include: Sequence[Need],
    groups: Sequence[Sequence[Detection]],
    colouring: ReadColours,
) -> list[Finding]:
    """What is wrong with the objects found for a need.

    GenEval does not check the position of an object of the wrong colour. It is checked here, so
    that every fault is named; whether the picture passes does not change.
    """
    relation, target = need.relation, need.target
    others = groups[target] if relation and target is not None else ()
    beside = f" {relation} the {include[target].name}" if relation and target is not None else ""
    if len(things) < need.count:
        noun = " ".join(filter(None, (need.colour, need.name)))
        missing = need.count - len(things)
        text = f"missing {quantity(missing, noun)}{beside if others else ''}"
        # Missing objects have no colour or position.
        return [Finding("missing", need, (), text, _demands(need) * missing / need.count)]
    wrong = []
    colours = colouring(things) if need.colour else ()
    miscoloured = [t for t, c in zip(things, colours, strict=False) if c != need.colour]
    if miscoloured:
        text = f"{need.name} is not {need.colour}"
        lost = len(miscoloured) / len(things)
        wrong.append(Finding("colour", need, tuple(miscoloured), text, lost))
    placed = bool(others) and all(
        relation in relations(thing.box, other.box) for thing in things for other in others
    )
    if relation and not placed:
        wrong.append(Finding("position", need, tuple(things), f"{need.name} is not{beside}", 1))
    return wrong


def seen(found: Mapping[str, Sequence[Detection]]) -> str:
    """What counts, as a sentence."""
    names = ", ".join(quantity(len(things), name) for name, things in found.items() if things)
    return f"The picture shows: {names or 'nothing that was asked about'}."
