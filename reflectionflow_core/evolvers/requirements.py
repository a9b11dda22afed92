"""Checks that a rewritten prompt still contains all of the user's requirements."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocols import SILENT, Progress
from ..verdict import is_met
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.odds import yes
from ..vlm.texts import DATA_RULE, quoted

_COMPARE = """\
The original prompt: {original}
A rewritten prompt: {rewritten}
Go through the original requirement by requirement: things, numbers, colours, places, relations,
style. Does the rewritten prompt still ask for every one of them, and contradict none? It may add
detail. Answer yes or no."""


def keeps_requirements(
    vlm: Vlm,
    original: str,
    rewritten: Sequence[str],
    progress: Progress = SILENT,
    phase: str = "evolve",
) -> list[bool | Failure]:
    """For each rewritten prompt, whether it keeps every requirement (`is_met`)."""
    questions = [question_of(original, text) for text in rewritten]
    answers = yes(vlm, questions, progress, phase)
    return [p if isinstance(p, Failure) else is_met(p) for p in answers]


def question_of(original: str, rewritten: str) -> Question:
    """The question whether a prompt keeps all requirements of another; the answer is yes or no."""
    text = _COMPARE.format(original=quoted(original), rewritten=quoted(rewritten))
    return Question(text, system=DATA_RULE, max_tokens=1)
