"""How a judge answers statements: a vision-language model by questions, a verifier by verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL.Image import Image

from ..protocols import SILENT, Progress, Silent, Verifier
from ..record import InputError
from ..verdict import is_met
from ..verifiers.checklist import FORM
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.odds import yes
from ..vlm.texts import DATA_RULE, quoted
from .changes import reframed

PHASE = "verify"
OF_THE_MINIATURE = frozenset({"exact", "noisy"})
_QUESTION = "Does the picture show this: {statement}"
# The same in other words, and with "no" named first.
_AGAIN = """\
Here is a statement about the picture. If it is false, or if you cannot see that it is so, answer
no; if it is true, answer yes. Answer with that word alone.
The statement: {statement}"""
_AGAIN_PROMPT = "a picture of {statement}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A picture and a statement about it; `again` asks in other words."""

    image: Image
    statement: str
    again: bool = False


class Answering(Protocol):
    """Says whether statements are true of their pictures, in order; a Failure if it cannot."""

    def answer(
        self, asked: Sequence[Asked], progress: Progress = SILENT
    ) -> list[bool | Failure]: ...


@dataclass(frozen=True)
class ModelAnswers:
    """A vision-language model that is asked one question per statement, as a checklist asks it."""

    vlm: Vlm

    def answer(self, asked: Sequence[Asked], progress: Progress = SILENT) -> list[bool | Failure]:
        answers = yes(self.vlm, [_question(each) for each in asked], progress, PHASE)
        return [p if isinstance(p, Failure) else is_met(p) for p in answers]


def check_examinable(names: Iterable[str]) -> None:
    """Raises InputError for verifiers by rules for the miniature's own pictures.

    They misread the scenes of an exam, so a search would not trust them at all.
    """
    if found := sorted(OF_THE_MINIATURE.intersection(names)):
        raise InputError(
            f"The verifier {found[0]!r} reads the miniature's own pictures only, so drawn scenes "
            "and other pictures say nothing about it. Measure one that judges any picture, such as "
            "a vision-language model."
        )


@dataclass(frozen=True)
class VerifierAnswers:
    """A verifier that gets a statement as its prompt: it is true if the picture passes.

    If the verifier cannot judge a statement, or only ranks pictures, the answer is a Failure.
    """

    verifier: Verifier

    def answer(self, asked: Sequence[Asked], progress: Progress = SILENT) -> list[bool | Failure]:
        answers = []
        for done, each in enumerate(asked, start=1):
            progress.check()
            answers.append(self._verdict(each, Unreported(progress)))
            progress.report(PHASE, done, len(asked))
        return answers

    def _verdict(self, asked: Asked, progress: Progress) -> bool | Failure:
        again = _AGAIN_PROMPT.format(statement=asked.statement)
        prompt = again if asked.again else asked.statement
        try:
            (verdict,) = self.verifier.verify(prompt, [shown(asked)], progress)
        except InputError as error:  # such as a word that a detector does not know
            return Failure(str(error))
        if verdict.failure is not None:
            return Failure(verdict.failure)
        if verdict.passed is None:
            return Failure("The verifier does not say whether a picture has passed.")
        return verdict.passed


@dataclass(frozen=True, slots=True)
class Unreported(Silent):
    """A Progress that can cancel, but does not report the parts of a question."""

    progress: Progress

    def check(self) -> None:
        self.progress.check()

    def say(self, text: str) -> None:
        self.progress.say(text)


def shown(asked: Asked) -> Image:
    """The picture as it is shown: in a frame if it is asked about again."""
    return reframed(asked.image) if asked.again else asked.image


def _question(asked: Asked) -> Question:
    if asked.again:
        text = _AGAIN.format(statement=quoted(asked.statement))
    else:
        text = FORM.format(question=quoted(_QUESTION.format(statement=asked.statement)))
    return Question(text, (shown(asked),), DATA_RULE, max_tokens=1)
