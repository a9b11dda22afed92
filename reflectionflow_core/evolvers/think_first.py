"""Expands a short prompt before the first draft: content, layout, style."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, StringConstraints

from ..protocols import SILENT, Progress
from ..vlm.actor import VlmActor
from ..vlm.answers import ask
from ..vlm.failures import check_lasting, say_failures
from ..vlm.interface import Failure, Question
from ..vlm.texts import DATA_RULE, quoted, said
from .requirements import keeps_requirements

Sentences = Annotated[str, StringConstraints(max_length=500)]

_EXPAND = """\
Here is a prompt for a picture: {prompt}
Think the picture through before it is painted, and add what the prompt leaves open:
content: each thing with its number, colour, material and what it does;
layout: where each thing is in the frame, what is in front and behind, and from where one looks;
style: medium, light, mood.
Nothing may contradict the prompt, and no further thing may be added that it does not imply. One or
two sentences each, as {{"content": "...", "layout": "...", "style": "..."}}; leave a part empty
where the prompt has said it all."""


NOT_EXPANDED = "The prompt could not be thought through."
UNCHANGED = ("Thinking the prompt through", "it is painted as it is")


class Thought(BaseModel):
    content: Sentences
    layout: Sentences
    style: Sentences


class PromptExpander(VlmActor):
    """Expands a prompt for the first drafts (paper §3.4: most useful for short prompts).

    The user's words stay unchanged at the front; a second question rejects an expansion that
    contradicts them. After a rejection, or if the model fails, the prompt is unchanged. It is not a
    PromptEvolver, since there is no candidate yet: its result is `SearchSettings.draft_prompt`,
    which is recorded with the run.
    """

    calls = 2

    def expand(self, prompt: str, progress: Progress = SILENT) -> str:
        """The expanded prompt, or the unchanged one; InputError if the server failed."""
        (answer,) = ask(self.vlm, [question_of(prompt)], Thought, progress, "evolve")
        check_lasting(answer, NOT_EXPANDED)
        say_failures([answer], progress, *UNCHANGED)
        if isinstance(answer, Failure):
            return prompt
        parts = [said(part).rstrip(".") for part in (answer.content, answer.layout, answer.style)]
        added = ". ".join(filter(None, parts))
        if not added:
            return prompt
        expanded = f"{prompt.rstrip(' .')}. {added}."
        (kept,) = keeps_requirements(self.vlm, prompt, [expanded], progress)
        check_lasting(kept, NOT_EXPANDED)
        say_failures([kept], progress, *UNCHANGED)
        return expanded if kept is True else prompt


def question_of(prompt: str) -> Question:
    """The question for an expansion; the answer is a Thought."""
    return Question(_EXPAND.format(prompt=quoted(prompt)), system=DATA_RULE)
