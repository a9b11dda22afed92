"""A reflection in two lists, what is wrong and what is merely crude, for one repaint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from ..protocols import SILENT, Progress
from ..record import Candidate, InputError, Request
from ..vlm.answers import ask
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted
from .template import TemplateWriter
from .vlm import MAX_WORDS, findings, in_words_of_the_verdict, joined

KEEP = "Keep everything else as it is."
LEAST_WORDS = 20  # room for one command, and for the rest to be kept

_WRITE = """\
This picture was painted from a prompt: {prompt}
A judge found: {findings}
Look at the picture and write down, in two lists, what an artist must change:
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


class TwoListsWriter:
    """Writes all of "Mend: ... Refine: ... Keep everything else as it is." (Huang et al. 2025).

    Pictures that passed are asked about as well, since they may be crude. What is wrong comes
    first; what does not fit in `max_words` is left out. Where the model fails, the verdict's words
    take the place of its own; if there is nothing to say, the reflection is empty.
    """

    def __init__(self, vlm: Vlm, max_words: int = MAX_WORDS) -> None:
        if max_words < LEAST_WORDS:
            raise InputError(
                f"Two lists do not fit in {max_words} words. Give at least {LEAST_WORDS}."
            )
        self.vlm, self.max_words = vlm, max_words
        self.calls = 1
        self.fallback = TemplateWriter(max_words)

    @property
    def spent(self) -> int:
        return self.vlm.usage.calls

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        candidates = [request.given for request in requests]
        questions = [self._question(prompt, candidate) for candidate in candidates]
        answers = ask(self.vlm, questions, TwoLists, progress, "reflect") if questions else []
        return [
            in_words_of_the_verdict(candidate, self.fallback)
            if isinstance(answer, Failure)
            else as_reflection(answer, self.max_words)
            for candidate, answer in zip(candidates, answers, strict=True)
        ]

    def _question(self, prompt: str, candidate: Candidate) -> Question:
        text = _WRITE.format(
            prompt=quoted(prompt), findings=quoted(findings(candidate)), max_words=self.max_words
        )
        return Question(text, (candidate.image,), DATA_RULE, max_tokens=512)


def as_reflection(lists: TwoLists, max_words: int) -> str:
    """Both lists as one text of at most `max_words`; "" if both are empty."""
    room = max_words - len(KEEP.split())
    parts: list[str] = []
    for title, commands in (("Mend:", lists.wrong), ("Refine:", lists.crude)):
        text = joined(commands, room - 1) if room > 1 else ""
        if text:
            parts.append(f"{title} {text}")
            room -= len(parts[-1].split())
    return " ".join([*parts, KEEP]) if parts else ""
