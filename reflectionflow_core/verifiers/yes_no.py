"""A verifier with one question per picture: does it show what the prompt asks for?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import Verdict
from ..verdict import is_met
from ..vlm.actor import VlmActor
from ..vlm.interface import Failure, LogitVlm, Question
from ..vlm.odds import YES_NO, probabilities, yes
from ..vlm.texts import DATA_RULE, quoted, tidy

CERTAIN = 1e-9  # probabilities are kept this far from 0 and 1

_ASK = """\
This picture was painted from a prompt: {prompt}
Does the picture show all that the prompt asks for, and as it asks for it? Answer yes or no."""


# Exactly the text with which SANA-1.5 trained and asks the verifier; it knows no other.
NVILA_REQUEST = (
    "You are an AI assistant specializing in image analysis and ranking. Your task is to analyze "
    "and compare image based on how well they match the given prompt. The given prompt is:{prompt}."
    " Please consider the prompt and the image to make a decision and response directly with 'yes' "
    "or 'no'."
)
BAND = 100.0  # scores of "yes" are above, of "no" below; logits are smaller
FARTHEST = 99.0  # that a logit moves a score from BAND


class YesNoVerifier(VlmActor):
    """Scores a picture by the log-odds of "yes", -20.7 to 20.7; passes above 0.

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
    passed = is_met(p)
    return Verdict(
        score=math.log(sure) - math.log1p(-sure),
        passed=passed,
        aspects=MappingProxyType({"yes": p}),
        unmet=() if passed else (f"not as asked: {tidy(prompt)}",),
    )


class NvilaVerifier(VlmActor):
    """Asks and ranks like the verifier of the paper's main experiments (§4.1, from SANA-1.5).

    The text is the one that NVILA-Lite-2B-Verifier was trained on, without a system prompt.
    Pictures with the answer "yes" come first, by the logit of "yes"; then those with "no", a lower
    logit of "no" first. The score is 100 + logit or -100 - logit, and a "yes" passes. A server that
    gives log-probabilities instead of logits ranks by these. The prompt is not quoted, so it can
    give the model orders.
    """

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        text = NVILA_REQUEST.format(prompt=tidy(prompt))
        questions = [Question(text, (image,), max_tokens=1) for image in images]
        if isinstance(self.vlm, LogitVlm):
            scores = self.vlm.label_scores(questions, YES_NO, progress, "verify")
        else:
            scores = [
                odds if isinstance(odds, Failure) else tuple(math.log(p or CERTAIN) for p in odds)
                for odds in probabilities(self.vlm, questions, YES_NO, progress, "verify")
            ]
        return [_labelled(prompt, labels) for labels in scores]


def _labelled(prompt: str, labels: tuple[float, ...] | Failure) -> Verdict:
    if isinstance(labels, Failure):
        return Verdict.unjudged(labels.reason)
    yes_score, no_score = labels
    if max(labels) == -math.inf:
        return Verdict.unjudged("The model answers neither yes nor no.")
    passed = yes_score > no_score
    logit = min(max(yes_score if passed else no_score, -FARTHEST), FARTHEST)
    gap = min(max(no_score - yes_score, -FARTHEST), FARTHEST)
    return Verdict(
        score=BAND + logit if passed else -BAND - logit,
        passed=passed,
        aspects=MappingProxyType({"yes": 1 / (1 + math.exp(gap))}),
        unmet=() if passed else (f"not as asked: {tidy(prompt)}",),
    )
