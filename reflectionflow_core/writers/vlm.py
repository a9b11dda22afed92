"""A reflection writer that shows the picture to a vision-language model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from ..evidence import located
from ..protocols import SILENT, Progress
from ..record import Candidate, InputError, Request
from ..vlm.actor import VlmActor
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted, shortened, tidy
from .template import TemplateWriter

# The corrector's T5 reads 512 tokens including the prompt; 100 words are about 140 tokens.
MAX_WORDS = 100
FALLBACK = ("The writer", "the verdict's words are used")
NOTHING_FOUND = "nothing in particular"
_NUMBERING = re.compile(
    r"[\s*•·#✅\u2460-\u2473-]*(?:(?:edit|step)?\s*[(\[]?(?:\d{1,2}|[a-h])?[.):\]]\s+)?[\s*•·]*",
    re.IGNORECASE,
)
_NO_EDIT = re.compile(
    r"(?:there (?:is|are) )?(?:none|n/a|null|nothing|no)(?: (?:further|additional|other|more|edits?"
    r"|changes?|corrections?|issues?|problems?|to|be|needs?|changed?|edit(?:ed)?|fix(?:ed)?|is|are"
    r"|needed|required|necessary|missing|wrong))*|everything (?:is|looks) \w+"
    r"|(?:i|i['\u2019]m|sorry|as an ai)\b.*",  # what is no command: a model that declines
    re.IGNORECASE,
)
MAX_TRIED = 5  # earlier reflections per question

_WRITE = """\
This picture was painted from a prompt: {prompt}
A judge found: {findings}
{earlier}{tried}{broken}\
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


class VlmWriter(VlmActor):
    """Writes commands, the most important first, in `max_words` words (paper §3.4, Appendix D.2).

    The model sees the picture, the user's prompt, the verdict and the chain's earlier reflections.
    If a picture passed with nothing unmet, the model is not asked and the reflection is empty. If
    the model fails or finds nothing to change, TemplateWriter uses the verdict's unmet
    requirements. InputError for fewer than `min_words`.
    """

    min_words = 1

    def __init__(self, vlm: Vlm, max_words: int = MAX_WORDS) -> None:
        if max_words < self.min_words:
            raise InputError(
                f"{max_words} words are too few for a reflection. Give at least {self.min_words}."
            )
        super().__init__(vlm)
        self.max_words, self.fallback = max_words, TemplateWriter(max_words)

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        asked = [request for request in requests if needs_change(request.required_parent)]
        text = iter(self._written(prompt, asked, progress) if asked else ())
        return [
            next(text) or from_verdict(request.required_parent, self.fallback)
            if needs_change(request.required_parent)
            else ""
            for request in requests
        ]

    def _written(self, prompt: str, asked: Sequence[Request], progress: Progress) -> list[str]:
        """The model's text about each parent; "" if it fails or finds nothing to change."""
        questions = [self._question(prompt, request) for request in asked]
        answers = ask(self.vlm, questions, Edits, progress, "reflect")
        say_failures(answers, progress, *FALLBACK)
        edits = ([] if isinstance(answer, Failure) else answer.edits for answer in answers)
        return [joined(some, self.max_words) for some in edits]

    def _question(self, prompt: str, request: Request) -> Question:
        candidate, earlier = request.required_parent, request.context
        text = _WRITE.format(
            prompt=quoted(prompt),
            findings=quoted(findings(candidate)),
            earlier=earlier_attempts(earlier),
            tried=_tried(candidate),
            broken=broken_before(request),
            max_words=self.max_words,
        )
        images = (candidate.image, *(picture.image for picture in earlier))
        return Question(text, images, DATA_RULE, max_tokens=512)


def needs_change(candidate: Candidate) -> bool:
    """False for a picture that passed with nothing unmet."""
    return not candidate.verdict.passed or bool(candidate.verdict.unmet)


def findings(candidate: Candidate) -> str:
    """The verdict as text, with boxes where it has them."""
    verdict = candidate.verdict
    if not verdict.judged:
        return NOTHING_FOUND  # a failed verdict says nothing about the picture
    faults = [located(fault, verdict.evidence) for fault in verdict.unmet]
    parts = ("; ".join(faults), verdict.explanation)
    return ". ".join(filter(None, parts)) or NOTHING_FOUND


def from_verdict(candidate: Candidate, template: TemplateWriter) -> str:
    """Edits for the verdict's unmet requirements, cut to the template's words."""
    return shortened(tidy(template.write(candidate.verdict.unmet)), template.max_words)


def joined(edits: Sequence[str], max_words: int) -> str:
    """As many edits as fit into `max_words`, as sentences; the first is cut if it is too long.

    A line is an edit. Numbering is removed; repetitions, edits without a word, such as the "..." of
    our question, and "none" are dropped.
    """
    lines = [_bare(line) for edit in edits for line in edit.splitlines()]
    text, said = "", list({line.casefold(): line for line in lines if line}.values())
    for edit in said:
        sentence = f"{edit[0].upper()}{edit[1:]}."
        longer = f"{text} {sentence}".strip()
        if len(longer.split()) > max_words:
            break
        text = longer
    return text or shortened("".join(said[:1]), max_words)


def _bare(edit: str) -> str:
    """An edit without numbering and surrounding punctuation; "" if nothing is left."""
    bare = _NUMBERING.sub("", tidy(edit).replace("**", ""), count=1).strip(" .;-*…`")
    says = any(map(str.isalpha, bare)) and not _NO_EDIT.fullmatch(bare)
    return bare if says else ""


def earlier_attempts(earlier: Sequence[Candidate]) -> str:
    """A line about each picture after the first; "" without earlier pictures."""
    if not earlier:
        return ""
    lines = []
    for number, picture in enumerate(earlier, start=2):
        reflection = quoted(picture.reflection, 600)
        asked = f", made as this asked: {reflection}" if picture.reflection else ""
        found = quoted(findings(picture), 600)
        lines.append(f"Picture {number} is an earlier attempt{asked}. The judge found: {found}\n")
    rule = "Learn from them what helps and what does not. Only the first picture is changed now.\n"
    return "".join([*lines, rule])


def broken_before(request: Request) -> str:
    """What earlier corrections of this picture broke; "" if nothing."""
    if not request.broken:
        return ""
    return (
        "Earlier corrections of this picture were not accepted, since they broke what is right "
        f"here: {quoted('; '.join(request.broken), 600)}\n"
        "Ask in a way that leaves this as it is, and say so where that helps.\n"
    )


def _tried(candidate: Candidate) -> str:
    reflections = [quoted(c.reflection, 600) for c in candidate.lineage if c.reflection][
        -MAX_TRIED:
    ]
    if not reflections:
        return ""
    return (
        f"Earlier rounds have asked for this, the latest last: {' '.join(reflections)}\n"
        "What is still wrong was not fixed by these words: ask for it in another way.\n"
    )
