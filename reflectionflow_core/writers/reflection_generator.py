"""The published Reflection-Generator (a fine-tuned Qwen2.5-VL-7B) as a writer."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocols import Progress
from ..record import Request
from ..vlm.interface import Failure, Question
from ..vlm.texts import shortened, tidy
from .vlm import VlmWriter

# What it was trained on, to the letter; it knows no other request.
REQUEST = (
    "Generate reflections to improve the input image according to the prompt. "
    'The prompt is: "{prompt}"'
)


class ReflectionGeneratorWriter(VlmWriter):
    """Asks the one line that the model was trained on, with picture and prompt (paper §3.2, §4.1).

    Its answer is free text, cut to `max_words`. The prompt stands in plain quotes, as in training:
    unlike VlmWriter it does not guard against orders in the prompt, which can spoil a reflection
    and nothing else. Pictures that passed and failures are treated as VlmWriter does; of earlier
    pictures it knows nothing.
    """

    def _written(self, prompt: str, asked: Sequence[Request], progress: Progress) -> list[str]:
        text = REQUEST.format(prompt=tidy(prompt))
        questions = [Question(text, (request.given.image,)) for request in asked]
        answers = self.vlm.chat(questions, progress, "reflect")
        said = ("" if isinstance(answer, Failure) else answer for answer in answers)
        return [shortened(tidy(words), self.max_words) for words in said]
