"""A vision-language model of a few lines, for every test of what asks one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reflectionflow_core.allowance import NoCallsLeftError, take_calls
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.vlm.failures import not_allowed
from reflectionflow_core.vlm.interface import Failure, Question, Usage

Chat = Callable[[Question], str | Failure]
Choose = Callable[[Question], Sequence[float] | Failure]


def silent(question: Question) -> Failure:
    return Failure("The server does not answer.")


@dataclass
class ScriptedVlm:
    """Answers as two functions of the Question say; `asked` holds every question ever put to it."""

    on_chat: Chat = silent
    on_choose: Choose = silent
    asked: list[Question] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    @property
    def usage(self) -> Usage:
        return Usage(calls=len(self.asked))

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        self._note(questions, progress, phase)
        return [self._paid(self.on_chat, question) for question in questions]

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        self._note(questions, progress, phase)
        answers = [self._paid(self.on_choose, question) for question in questions]
        return [a if isinstance(a, Failure) else tuple(a) for a in answers]

    def _paid(self, on_question: Callable[[Question], Any], question: Question) -> Any:
        try:
            take_calls()
        except NoCallsLeftError as error:
            return not_allowed(error)
        self.asked.append(question)
        return on_question(question)

    def _note(self, questions: Sequence[Question], progress: Progress, phase: str) -> None:
        self.batches.append(len(questions))
        for done in range(len(questions)):
            progress.check()
            progress.report(phase, done + 1, len(questions))
