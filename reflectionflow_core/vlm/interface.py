"""The interface of vision-language models: batches of questions, answers in order.

A model that does not answer raises nothing: its answer is a Failure with the reason, and the caller
decides. Only cancelling raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..protocols import SILENT, Progress

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Question:
    """One call: pictures followed by a text, with a `system` text.

    With a `schema` (JSON Schema of an object) the answer should be such a JSON object; not every
    model complies, so `answers.ask` checks. `max_tokens` limits the answer.
    """

    text: str
    images: tuple[Image, ...] = ()
    system: str = ""
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer; `reason` is one sentence without keys and addresses.

    `temporary`: server, connection or memory failed, not the question; the same question may be
    answered later, so nothing made in place of the answer should be saved.
    """

    reason: str
    temporary: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests that reached a model, including retries, and tokens if the model counts them."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


class Vlm(Protocol):
    """Answers each question, in order; greedy decoding unless configured otherwise.

    `usage` is the total so far. Progress is reported under `phase` after every question;
    `progress.check` is called at least at every generated token or ten times per second. Each
    request is taken from the allowance (`take_calls`) before it is made.
    """

    @property
    def usage(self) -> Usage: ...

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]: ...

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """For each question P(the answer begins with the choice), 0 to 1, summing to 1."""
        ...


@runtime_checkable
class ExactVlm(Vlm, Protocol):
    """A Vlm that gives an answer's probability among all answers, not only among given ones."""

    def likelihoods(
        self,
        questions: Sequence[Question],
        answers: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """For each question the probability that its answer begins with each of `answers`.

        Case and a leading space are ignored. Other answers have the rest, so these may sum to less
        than 1.
        """
        ...


@runtime_checkable
class LogitVlm(Vlm, Protocol):
    """A Vlm that gives scores of answers as its server does, for ordering."""

    def label_scores(
        self,
        questions: Sequence[Question],
        labels: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """For each question the logit of each of `labels` as first token.

        The log-probability if the server gives no logits; -inf for a label not among the likeliest
        tokens.
        """
        ...


@runtime_checkable
class NamedVlm(Vlm, Protocol):
    """A Vlm that knows the name of its weights or its family."""

    model_name: str


@runtime_checkable
class PictureKeeping(Vlm, Protocol):
    """A Vlm for which a further question about the latest pictures costs less.

    So all questions about one picture should be asked before the next.
    """

    def keeping_pictures(self) -> AbstractContextManager[None]:
        """A context in which results for the latest pictures are cached between calls."""
        ...
