"""A reflection writer that looks at the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from ..protocols import SILENT, Progress
from ..record import Candidate, InputError, Request
from ..vlm.answers import ask
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted, shortened, tidy
from .template import TemplateWriter

# The corrector's T5 reads 512 tokens, the prompt first; 100 words are about 140 of them.
MAX_WORDS = 100
TRIED = 5  # earlier reflections that are told

_WRITE = """\
This picture was painted from a prompt: {prompt}
A judge found: {findings}
{earlier}{tried}\
Write the edits that an artist must make so that the picture shows what the prompt asks for.
Each edit is one short command that begins with a verb such as add, remove, replace, move, recolor
or resize, and says where in the picture: "add a second red cup to the left of the plate". Only what
is missing or wrong, nothing that is already right, no praise, no reasons, and nothing vague such as
"make sure". The most important edit first; {max_words} words in all at most. Trust your eyes more
than the judge: leave out what the picture shows already. Answer as {{"edits": ["...", ...]}}; the
list is empty if there is nothing to change."""


class Edits(BaseModel):
    edits: Annotated[
        list[Annotated[str, StringConstraints(max_length=1_000)]], Field(max_length=20)
    ]


class VlmWriter:
    """Writes commands, the most important first, in `max_words` words (paper §3.4, Appendix D.2).

    It sees the picture, the user's prompt, the verdict, and what was tried before in this chain. A
    picture that passed with nothing unmet is not asked about and gets the empty reflection, as does
    one in which the model finds nothing to change unless the verdict names something unmet: that
    goes to the corrector in the words of TemplateWriter, and so it does if the model fails.
    """

    def __init__(self, vlm: Vlm, max_words: int = MAX_WORDS) -> None:
        if max_words < 1:
            raise InputError(f"A reflection of {max_words} words says nothing. Give at least 1.")
        self.vlm, self.max_words = vlm, max_words
        self.calls = 1
        self.fallback = TemplateWriter(max_words)

    @property
    def spent(self) -> int:
        return self.vlm.usage.calls

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        asked = [request for request in requests if to_be_changed(request.given)]
        text = iter(self._written(prompt, asked, progress) if asked else ())
        return [
            next(text) or in_words_of_the_verdict(request.given, self.fallback)
            if to_be_changed(request.given)
            else ""
            for request in requests
        ]

    def _written(self, prompt: str, asked: Sequence[Request], progress: Progress) -> list[str]:
        """What the model writes about each parent; "" where it fails or finds nothing."""
        questions = [self._question(prompt, request) for request in asked]
        answers = ask(self.vlm, questions, Edits, progress, "reflect")
        edits = ([] if isinstance(answer, Failure) else answer.edits for answer in answers)
        return [joined(some, self.max_words) for some in edits]

    def _question(self, prompt: str, request: Request) -> Question:
        candidate, earlier = request.given, request.context
        text = _WRITE.format(
            prompt=quoted(prompt),
            findings=quoted(findings(candidate)),
            earlier=shown_before(earlier),
            tried=_tried(candidate),
            max_words=self.max_words,
        )
        images = (candidate.image, *(picture.image for picture in earlier))
        return Question(text, images, DATA_RULE, max_tokens=512)


def to_be_changed(candidate: Candidate) -> bool:
    return not candidate.verdict.passed or bool(candidate.verdict.unmet)


def findings(candidate: Candidate) -> str:
    """What the verdict says, in words."""
    verdict = candidate.verdict
    parts = ("; ".join(verdict.unmet), verdict.explanation)
    return ". ".join(filter(None, parts)) or "nothing in particular"


def in_words_of_the_verdict(candidate: Candidate, template: TemplateWriter) -> str:
    """The edits that a verdict asks for; one unmet thing may be longer than a writer's limit."""
    return shortened(tidy(template.write(candidate.verdict.unmet)), template.max_words)


def joined(edits: Sequence[str], max_words: int) -> str:
    """The first edits that fit, as sentences; a first one that is too long is cut."""
    text = ""
    for edit in filter(None, (tidy(edit).strip(" .;-") for edit in edits)):
        sentence = f"{edit[0].upper()}{edit[1:]}."
        longer = f"{text} {sentence}".strip()
        if len(longer.split()) > max_words:
            break
        text = longer
    return text or shortened(tidy(" ".join(edits[:1])), max_words)


def shown_before(earlier: Sequence[Candidate]) -> str:
    """What each of the pictures after the first one was, a line each; "" if there is none."""
    if not earlier:
        return ""
    lines = []
    for number, picture in enumerate(earlier, start=2):
        told = quoted(picture.reflection, 600)
        asked = f", made as this asked: {told}" if picture.reflection else ""
        found = quoted(findings(picture), 600)
        lines.append(f"Picture {number} is an earlier attempt{asked}. The judge found: {found}\n")
    rule = "Learn from them what helps and what does not. Only the first picture is changed now.\n"
    return "".join([*lines, rule])


def _tried(candidate: Candidate) -> str:
    reflections = [quoted(c.reflection, 600) for c in candidate.lineage if c.reflection][-TRIED:]
    if not reflections:
        return ""
    return (
        f"Earlier rounds have asked for this, the latest last: {' '.join(reflections)}\n"
        "What is still wrong was not mended by these words: ask for it in another way.\n"
    )
