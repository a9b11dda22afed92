"""A terse prompt, thought through before the first picture: content, layout, style."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, StringConstraints

from ..protocols import SILENT, Progress
from ..vlm.answers import ask
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted, tidy
from .second_look import keeps_its_sense

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


class Thought(BaseModel):
    content: Sentences
    layout: Sentences
    style: Sentences


class PromptExpander:
    """Expands a prompt for the first drafts (paper §3.4: most useful for concise prompts).

    The user's words stay in front as they are, so nothing is dropped; a second question refuses an
    expansion that contradicts them. A refused one and a failure leave the prompt alone. It is no
    PromptEvolver, since there is no candidate yet: give what it returns as
    `SearchSettings.draft_prompt`, where it is recorded with the run.
    """

    calls = 2

    def __init__(self, vlm: Vlm) -> None:
        self.vlm = vlm

    @property
    def spent(self) -> int:
        return self.vlm.usage.calls

    def expand(self, prompt: str, progress: Progress = SILENT) -> str:
        """The prompt with its expansion, or as it was."""
        question = Question(_EXPAND.format(prompt=quoted(prompt)), system=DATA_RULE)
        (answer,) = ask(self.vlm, [question], Thought, progress, "evolve")
        if isinstance(answer, Failure):
            return prompt
        parts = [tidy(part).rstrip(".") for part in (answer.content, answer.layout, answer.style)]
        added = ". ".join(filter(None, parts))
        if not added:
            return prompt
        expanded = f"{prompt.rstrip(' .')}. {added}."
        (kept,) = keeps_its_sense(self.vlm, prompt, [expanded], progress)
        return expanded if kept else prompt
