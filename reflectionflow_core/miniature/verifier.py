"""The miniature's exact verifier: reads a picture by rules and compares it with the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL.Image import Image

from ..evidence import Evidence
from ..protocols import SILENT, Progress
from ..record import Verdict
from .detector import PixelBox, detect_boxes
from .judge import faults, in_words, score
from .prompts import Spec, parse
from .settings import SIZE
from .world import Thing


class ExactVerifier:
    """Passes exactly the pictures that show what the prompt asks for and nothing else.

    The score is the share of requirements met (0 to 1); `unmet` names every fault and `evidence`
    the box of each thing that is wrong. Raises InputError for a prompt outside the
    miniature's grammar.
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
        unmet=tuple(fault.unmet for fault in found),
        explanation=f"The picture shows: {seen}.",
        evidence=tuple(
            Evidence.in_pixels(fault.unmet, boxes[fault.thing], (SIZE, SIZE), 1.0)
            for fault in found
            if fault.thing is not None
        ),
    )
