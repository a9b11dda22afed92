"""The miniature's exact verifier: reads the picture by rules and compares it with the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from reflectionflow_core.miniature.detector import detect
from reflectionflow_core.miniature.judge import faults, in_words, score
from reflectionflow_core.miniature.prompts import Spec, parse
from reflectionflow_core.miniature.world import Scene
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import Verdict


class ExactVerifier:
    """Passes exactly the pictures that show what the prompt asks and nothing else.

    The score is the share of requirements met (0 to 1); `unmet` names every fault. Prompts outside
    the miniature's grammar are an InputError.
    """

    calls = 0

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        del progress  # takes a millisecond a picture
        spec = parse(prompt)
        return [_verdict(detect(image), spec) for image in images]


def _verdict(scene: Scene, spec: Spec) -> Verdict:
    found = faults(scene, spec)
    seen = ", ".join(map(in_words, scene)) or "nothing"
    return Verdict(
        score=score(scene, spec),
        passed=not found,
        unmet=tuple(fault.unmet for fault in found),
        explanation=f"The picture shows: {seen}.",
    )
