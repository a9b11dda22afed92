"""A prompt evolver that shows the prompt's picture to a vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, StringConstraints

from ..protocols import SILENT, Progress
from ..record import Candidate, Request
from ..vlm.actor import VlmActor
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, Question
from ..vlm.texts import DATA_RULE, quoted, said
from ..writers.vlm import earlier_attempts, findings
from .requirements import keeps_requirements

MAX_WORDS = 150  # about 200 of FLUX's 512 tokens; the rest is for the reflection
MAX_LENGTH = 2_000  # characters, for scripts without spaces

_REWRITE = """\
A picture was painted from a prompt that was made from the user's own.
The user's prompt: {original}
The prompt that it was painted from: {current}
{judged}
{reflection}{earlier}\
Look at the picture and write a better prompt for the next one. Keep every requirement
of the user's prompt as it is. Say more plainly what the picture got wrong: spell out numbers, name
the colour of each thing beside it, say where things are. You may add setting, light, style or
viewpoint where the user left them open, if that helps. Nothing may contradict the user's prompt or
the correction that was asked for. At most {max_words} words, as {{"prompt": "..."}}."""


class Evolved(BaseModel):
    prompt: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_LENGTH)
    ]


class VlmEvolver(VlmActor):
    """Rewrites the prompt from picture, verdict and reflection (paper §3.4, Appendix D.3).

    A second question compares each rewritten prompt with the user's, and rejects one that drops or
    contradicts a requirement. After a rejection, a failure or a text of more than 150 words, the
    user's own prompt is used.
    """

    calls = 2

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        questions = [_question(prompt, request) for request in requests]
        answers = list(map(_short, ask(self.vlm, questions, Evolved, progress, "evolve")))
        say_failures(answers, progress, "The evolver", "the prompt is used as it was given")
        texts = [_text(answer) for answer in answers]
        written = [text for text in texts if text]
        checked = keeps_requirements(self.vlm, prompt, written, progress)
        say_failures(checked, progress, "The second look", "the prompt is used as it was given")
        kept = iter(checked)
        return [text if text and next(kept) is True else prompt for text in texts]


def _question(prompt: str, request: Request) -> Question:
    candidate, earlier = request.required_parent, request.context
    reflection = ""
    if candidate.reflection:
        reflection = f"It was corrected as this asks: {quoted(candidate.reflection)}\n"
    text = _REWRITE.format(
        original=quoted(prompt),
        current=quoted(candidate.prompt),
        judged=_judged(candidate),
        reflection=reflection,
        earlier=earlier_attempts(earlier),
        max_words=MAX_WORDS,
    )
    images = (candidate.image, *(picture.image for picture in earlier))
    return Question(text, images, DATA_RULE, max_tokens=600)


def _judged(candidate: Candidate) -> str:
    if candidate.score is None:
        return "No judge has looked at it."
    return f"A judge gave it {candidate.score:.3g} and found: {quoted(findings(candidate))}"


def _short(answer: Evolved | Failure) -> Evolved | Failure:
    """The answer, or a Failure if it has too many words."""
    words = 0 if isinstance(answer, Failure) else len(answer.prompt.split())
    if words <= MAX_WORDS:
        return answer
    return Failure(f"The new prompt has {words} words; at most {MAX_WORDS} are used.")


def _text(answer: Evolved | Failure) -> str:
    """The new prompt; "" if the model failed or said nothing."""
    return "" if isinstance(answer, Failure) else said(answer.prompt)
