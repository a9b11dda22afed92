"""One question a picture: does it show what was asked?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import Verdict
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.odds import yes
from ..vlm.texts import DATA_RULE, quoted, tidy
from .unjudged import unjudged

CERTAIN = 1e-9  # nearer to 0 or 1 than this, a probability says no more
WORST = -30.0  # below the log-odds of CERTAIN

_ASK = """\
This picture was painted from a prompt: {prompt}
Does the picture show all that the prompt asks for, and as it asks for it? Answer yes or no."""


class YesNoVerifier:
    """Scores a picture by the log-odds of "yes", about -20.7 to 20.7; passes above 0.

    This is how the verifier of the paper's main experiments (§4.1, from SANA-1.5) orders pictures.
    Log-odds tell sure answers apart where probabilities all look like 1. What exactly is wrong it
    cannot say: `unmet` is the whole prompt. A picture without an answer scores -30.
    """

    def __init__(self, vlm: Vlm) -> None:
        self.vlm = vlm
        self.calls = 1

    @property
    def spent(self) -> int:
        return self.vlm.usage.calls

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        text = _ASK.format(prompt=quoted(prompt))
        questions = [Question(text, (image,), DATA_RULE, max_tokens=1) for image in images]
        return [_verdict(prompt, p) for p in yes(self.vlm, questions, progress, "verify")]


def _verdict(prompt: str, p: float | Failure) -> Verdict:
    if isinstance(p, Failure):
        return unjudged(WORST, p.reason)
    sure = min(max(p, CERTAIN), 1 - CERTAIN)
    passed = p > 0.5
    return Verdict(
        score=math.log(sure) - math.log1p(-sure),
        passed=passed,
        aspects=MappingProxyType({"yes": p}),
        unmet=() if passed else (f"not as asked: {tidy(prompt)}",),
    )
