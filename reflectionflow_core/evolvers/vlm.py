"""A prompt evolver that looks at what came of the prompt so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, StringConstraints

from ..protocols import SILENT, Progress
from ..record import Request
from ..vlm.answers import ask
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted, tidy
from ..writers.vlm import findings, shown_before
from .second_look import keeps_its_sense

MAX_WORDS = 150  # about 200 of the 512 tokens that FLUX reads; the rest is the reflection's
LONGEST = 2_000  # characters, for languages that put no spaces between words

_REWRITE = """\
A picture was painted from a prompt that was made from the user's own.
The user's prompt: {original}
The prompt that it was painted from: {current}
A judge gave it {score:.3g} and found: {findings}
{reflection}{earlier}\
Look at the picture and write a better prompt for the next one. Keep every requirement
of the user's prompt as it is. Say more plainly what the picture got wrong: spell out numbers, name
the colour of each thing beside it, say where things are. You may add setting, light, style or
viewpoint where the user left them open, if that helps. Nothing may contradict the user's prompt or
the correction that was asked for. At most {max_words} words, as {{"prompt": "..."}}."""


class Evolved(BaseModel):
    prompt: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST)
    ]


class VlmEvolver:
    """Rewrites the prompt in view of picture, verdict and reflection (paper §3.4, Appendix D.3).

    A second question compares each rewritten prompt with the user's: one that drops or contradicts
    a requirement is refused. A refused prompt, one of more than 150 words and a failure all leave
    the user's own prompt. The second look is the model's too; it errs as the model errs.
    """

    def __init__(self, vlm: Vlm) -> None:
        self.vlm = vlm
        self.calls = 2

    @property
    def spent(self) -> int:
        return self.vlm.usage.calls

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        questions = [_question(prompt, request) for request in requests]
        answers = ask(self.vlm, questions, Evolved, progress, "evolve") if questions else []
        texts = [_text(answer) for answer in answers]
        written = [text for text in texts if text]
        kept = iter(keeps_its_sense(self.vlm, prompt, written, progress))
        return [text if text and next(kept) else prompt for text in texts]


def _question(prompt: str, request: Request) -> Question:
    candidate, earlier = request.given, request.context
    asked_for = ""
    if candidate.reflection:
        asked_for = f"It was corrected as this asks: {quoted(candidate.reflection)}\n"
    text = _REWRITE.format(
        original=quoted(prompt),
        current=quoted(candidate.prompt),
        score=candidate.score,
        findings=quoted(findings(candidate)),
        reflection=asked_for,
        earlier=shown_before(earlier),
        max_words=MAX_WORDS,
    )
    images = (candidate.image, *(picture.image for picture in earlier))
    return Question(text, images, DATA_RULE, max_tokens=600)


def _text(answer: Evolved | Failure) -> str:
    """The new prompt; "" if there is none of a length that can be used."""
    text = "" if isinstance(answer, Failure) else tidy(answer.prompt, LONGEST)
    return text if len(text.split()) <= MAX_WORDS else ""
