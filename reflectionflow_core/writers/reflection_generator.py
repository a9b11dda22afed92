"""The published Reflection-Generator (a fine-tuned Qwen2.5-VL-7B) as a writer."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocols import Progress
from ..record import Request
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, Question
from ..vlm.texts import shortened, tidy
from .vlm import FALLBACK, VlmWriter

# Exactly the text of its training; it knows no other.
REQUEST = (
    "Generate reflections to improve the input image according to the prompt. "
    'The prompt is: "{prompt}"'
)


class ReflectionGeneratorWriter(VlmWriter):
    """Asks the question that the model was trained on (paper §3.2, §4.1).

    Its answer is free text, cut to `max_words`. As in training, the prompt is in plain quotes, so
    instructions in it are not neutralised; they can only spoil the reflection. Pictures that passed
    and failures are handled as in VlmWriter; earlier pictures are not shown.
    """

    def _written(self, prompt: str, asked: Sequence[Request], progress: Progress) -> list[str]:
        text = REQUEST.format(prompt=tidy(prompt))
        questions = [Question(text, (request.required_parent.image,)) for request in asked]
        answers = self.vlm.chat(questions, progress, "reflect")
        say_failures(answers, progress, *FALLBACK)
        said = ("" if isinstance(answer, Failure) else answer for answer in answers)
        return [shortened(tidy(words), self.max_words) for words in said]
