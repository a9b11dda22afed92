"""The miniature's exact verifier: reads a picture by rules and compares it with the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from PIL.Image import Image

from ..evidence import Evidence
from ..protocols import SILENT, Progress
from ..record import Verdict
from .detector import PixelBox, clearness, detect_boxes
from .judge import Fault, faults, in_words, score
from .prompts import Spec, parse
from .requirements import met_demands
from .settings import SIZE
from .world import Thing


class ExactVerifier:
    """Passes exactly the pictures that show what the prompt asks for and nothing else.

    The score is the share of requirements met (0 to 1); `unmet` names every fault, `aspects` has 1
    or 0 for each requirement, and `evidence` the box of each thing, right or wrong. It is surer of
    things that have one clear colour, so that of two pictures that pass the cleaner one is the
    best. Raises InputError for a prompt outside the miniature's grammar.
    """

    calls = 0

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        del progress  # takes a millisecond a picture
        spec = parse(prompt)
        return [_verdict(image, spec) for image in images]


def _verdict(image: Image, spec: Spec) -> Verdict:
    boxes = detect_boxes(image)
    scene = tuple(boxes)
    found = faults(scene, spec)
    seen = ", ".join(map(in_words, scene)) or "nothing"
    return Verdict(
        score=score(scene, spec),
        passed=not found,
        aspects=MappingProxyType({s: float(met) for s, met in met_demands(scene, spec).items()}),
        unmet=tuple(fault.unmet for fault in found),
        explanation=f"The picture shows: {seen}.",
        evidence=tuple(_evidence(image, boxes, found)),
    )


def _evidence(
    image: Image, boxes: Mapping[Thing, PixelBox], found: Sequence[Fault]
) -> Iterator[Evidence]:
    """Where each fault is, then where each thing is that has none."""
    wrong = [(fault.unmet, fault.thing) for fault in found if fault.thing is not None]
    faulty = {thing for _, thing in wrong}
    for text, thing in wrong:
        yield Evidence.in_pixels(text, boxes[thing], (SIZE, SIZE), 1.0)
    for thing, box in boxes.items():
        if thing not in faulty:
            sure = clearness(image, thing, box)
            yield Evidence.in_pixels(in_words(thing), box, (SIZE, SIZE), sure)
