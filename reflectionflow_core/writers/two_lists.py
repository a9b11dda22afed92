"""A reflection in two lists, what is wrong and what is crude, for one repaint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from ..protocols import SILENT, Progress
from ..record import Request
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, Question
from ..vlm.texts import DATA_RULE, quoted
from .vlm import FALLBACK, VlmWriter, broken_before, findings, from_verdict, joined

KEEP = "Keep everything else as it is."

_WRITE = """\
This picture was painted from a prompt: {prompt}
A judge found: {findings}
{broken}Look at the picture and write down, in two lists, what an artist must change:
wrong: what contradicts the prompt or is missing from it;
crude: what the prompt leaves open and is poorly made: texture, light and shadow, hands and faces,
edges, fine detail.
Each entry is one short command that says where in the picture: "add a second red cup to the left of
the plate", "give the wood of the table a visible grain". The most important first, at most five in
a list, {max_words} words in all. Nothing that is right and well made. Answer as
{{"wrong": ["...", ...], "crude": ["...", ...]}}; a list is empty if it has nothing to say."""

Commands = Annotated[
    list[Annotated[str, StringConstraints(max_length=1_000)]], Field(max_length=20)
]


class TwoLists(BaseModel):
    wrong: Commands
    crude: Commands


class TwoListsWriter(VlmWriter):
    """Writes "Mend: ... Refine: ... Keep everything else as it is." (Huang et al. 2025).

    Pictures that passed are included, since they may be crude. Faults come first; what does not fit
    into `max_words` is dropped. If the model fails, TemplateWriter uses the verdict's unmet
    requirements; the reflection is empty if there is nothing to change.
    """

    min_words = 20  # enough for one command and KEEP

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        candidates = [request.required_parent for request in requests]
        questions = [question_of(prompt, request, self.max_words) for request in requests]
        answers = ask(self.vlm, questions, TwoLists, progress, "reflect")
        say_failures(answers, progress, *FALLBACK)
        return [
            from_verdict(candidate, self.fallback)
            if isinstance(answer, Failure)
            else as_reflection(answer, self.max_words)
            for candidate, answer in zip(candidates, answers, strict=True)
        ]


def question_of(prompt: str, request: Request, max_words: int) -> Question:
    """The question about a request's parent; the answer is TwoLists."""
    candidate = request.required_parent
    text = _WRITE.format(
        prompt=quoted(prompt),
        findings=quoted(findings(candidate)),
        broken=broken_before(request),
        max_words=max_words,
    )
    return Question(text, (candidate.image,), DATA_RULE, max_tokens=512)


def as_reflection(lists: TwoLists, max_words: int) -> str:
    """Both lists as one text of at most `max_words` words; "" if both are empty."""
    room = max_words - len(KEEP.split())
    parts: list[str] = []
    for title, commands in (("Mend:", lists.wrong), ("Refine:", lists.crude)):
        text = joined(commands, room - 1) if room > 1 else ""
        if text:
            parts.append(f"{title} {text}")
            room -= len(parts[-1].split())
    return " ".join([*parts, KEEP]) if parts else ""
