"""A verifier with one question a picture: does it show what the prompt asks for?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import Verdict
from ..vlm.actor import VlmActor
from ..vlm.interface import Failure, Question
from ..vlm.odds import yes
from ..vlm.texts import DATA_RULE, quoted, tidy

CERTAIN = 1e-9  # probabilities are kept this far from 0 and 1

_ASK = """\
This picture was painted from a prompt: {prompt}
Does the picture show all that the prompt asks for, and as it asks for it? Answer yes or no."""


class YesNoVerifier(VlmActor):
    """Scores a picture by the log-odds of "yes", -20.7 to 20.7; passes above 0.

    The verifier of the paper's main experiments (§4.1, from SANA-1.5) orders pictures like this.
    Log-odds separate sure answers whose probabilities are all close to 1. It cannot say what is
    wrong: `unmet` is the whole prompt. A picture without an answer is not judged.
    """

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        text = _ASK.format(prompt=quoted(prompt))
        questions = [Question(text, (image,), DATA_RULE, max_tokens=1) for image in images]
        return [_verdict(prompt, p) for p in yes(self.vlm, questions, progress, "verify")]


def _verdict(prompt: str, p: float | Failure) -> Verdict:
    if isinstance(p, Failure):
        return Verdict.unjudged(p.reason)
    sure = min(max(p, CERTAIN), 1 - CERTAIN)
    passed = p > 0.5
    return Verdict(
        score=math.log(sure) - math.log1p(-sure),
        passed=passed,
        aspects=MappingProxyType({"yes": p}),
        unmet=() if passed else (f"not as asked: {tidy(prompt)}",),
    )
