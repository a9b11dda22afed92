"""The published Reflection-Generator (a fine-tuned Qwen2.5-VL-7B) as a writer."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocols import SILENT, Progress
from ..record import Candidate, InputError
from ..vlm.door import Failure, Question, Vlm
from ..vlm.texts import shortened, tidy
from .template import TemplateWriter
from .vlm import MAX_WORDS, in_words_of_the_verdict, to_be_changed

# What it was trained on, to the letter; it knows no other request.
REQUEST = (
    "Generate reflections to improve the input image according to the prompt. "
    'The prompt is: "{prompt}"'
)


class ReflectionGeneratorWriter:
    """Asks the one line that the model was trained on, with picture and prompt (paper §3.2, §4.1).

    Its answer is free text, cut to `max_words`. The prompt stands in plain quotes, as in training:
    unlike VlmWriter it does not guard against orders in the prompt, which can spoil a reflection
    and nothing else. Pictures that passed and failures are treated as VlmWriter does.
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
        self, prompt: str, candidates: Sequence[Candidate], progress: Progress = SILENT
    ) -> list[str]:
        asked = [candidate for candidate in candidates if to_be_changed(candidate)]
        text = REQUEST.format(prompt=tidy(prompt))
        questions = [Question(text, (candidate.image,)) for candidate in asked]
        answers = self.vlm.chat(questions, progress, "reflect") if asked else []
        answer = iter(answers)
        return [self._text(c, next(answer)) if to_be_changed(c) else "" for c in candidates]

    def _text(self, candidate: Candidate, answer: str | Failure) -> str:
        told = "" if isinstance(answer, Failure) else shortened(tidy(answer), self.max_words)
        return told or in_words_of_the_verdict(candidate, self.fallback)
