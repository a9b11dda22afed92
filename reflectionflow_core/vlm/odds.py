"""Closed questions with validated probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..protocols import SILENT, Progress
from .interface import Failure, Question, Vlm

YES_NO = ("yes", "no")


def probabilities(
    vlm: Vlm,
    questions: Sequence[Question],
    choices: Sequence[str],
    progress: Progress = SILENT,
    phase: str = "ask",
) -> list[tuple[float, ...] | Failure]:
    """`vlm.choose`, with a Failure for answers without a valid probability for each choice."""
    if not questions:
        return []
    answers = vlm.choose(questions, choices, progress, phase)
    return [_checked(answer, len(choices)) for answer in answers]


def yes(
    vlm: Vlm, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
) -> list[float | Failure]:
    """The probability of "yes", 0 to 1, for each question."""
    answers = probabilities(vlm, questions, YES_NO, progress, phase)
    return [answer if isinstance(answer, Failure) else answer[0] for answer in answers]


def _checked(answer: tuple[float, ...] | Failure, count: int) -> tuple[float, ...] | Failure:
    if isinstance(answer, Failure):
        return answer
    fits = len(answer) == count and all(math.isfinite(p) and 0 <= p <= 1 for p in answer)
    return answer if fits else Failure("The model gave no probability for each choice.")
