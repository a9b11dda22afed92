"""The miniature's exact verifier: reads a picture by rules and compares it with the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from PIL.Image import Image

from ..evidence import Evidence
from ..protocols import SILENT, Progress
from ..record import Verdict
from .detector import PixelBox, detect_boxes
from .judge import Fault, faults, in_words, score
from .prompts import Spec, parse
from .requirements import met_demands
from .settings import SIZE
from .world import Thing


class ExactVerifier:
    """Passes exactly the pictures that show what the prompt asks for and nothing else.

    The score is the share of requirements met (0 to 1); `unmet` names every fault, `aspects` has 1
    or 0 for each requirement, and `evidence` the box of each thing, right or wrong. Raises
    InputError for a prompt outside the miniature's grammar.
    """

    calls = 0

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        del progress  # takes a millisecond a picture
        spec = parse(prompt)
        return [_verdict(detect_boxes(image), spec) for image in images]


def _verdict(boxes: Mapping[Thing, PixelBox], spec: Spec) -> Verdict:
    scene = tuple(boxes)
    found = faults(scene, spec)
    seen = ", ".join(map(in_words, scene)) or "nothing"
    return Verdict(
        score=score(scene, spec),
        passed=not found,
        aspects=MappingProxyType({s: float(met) for s, met in met_demands(scene, spec).items()}),
        unmet=tuple(fault.unmet for fault in found),
        explanation=f"The picture shows: {seen}.",
        evidence=tuple(_evidence(boxes, found)),
    )


def _evidence(boxes: Mapping[Thing, PixelBox], found: Sequence[Fault]) -> Iterator[Evidence]:
    """Where each fault is, then where each thing is that has none."""
    wrong = [(fault.unmet, fault.thing) for fault in found if fault.thing is not None]
    faulty = {thing for _, thing in wrong}
    right = [(in_words(thing), thing) for thing in boxes if thing not in faulty]
    for text, thing in (*wrong, *right):
        yield Evidence.in_pixels(text, boxes[thing], (SIZE, SIZE), 1.0)
