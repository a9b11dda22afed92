"""What every vision-language model offers here: questions in batches, answers in their order.

A model that does not answer raises nothing: its item in the list is a Failure with the reason, and
the caller decides. Only cancelling raises.
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
    """One call: pictures and a text below them, under a `system` text.

    With a `schema` (JSON Schema of an object) the answer should be such an object as JSON. Not
    every model keeps to it: `answers.ask` checks. `max_tokens` limits the answer.
    """

    text: str
    images: tuple[Image, ...] = ()
    system: str = ""
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer; `reason` is one sentence without keys and addresses.

    It is `temporary` if server, connection or memory failed and not the question: the same question
    may be answered later, so nothing that was made for want of an answer should be kept.
    """

    reason: str
    temporary: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests that reached a model, retries included, and tokens where the model counts them."""

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
    """One answer a question, in order; decoding is greedy unless it was built otherwise.

    `usage` is the total so far. Progress is reported under `phase` after every finished question,
    and `progress.check` is called at least every generated token or every tenth of a second. Each
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
        """For each question P(the answer begins with the choice), 0 to 1; sums to 1."""
        ...


@runtime_checkable
class ExactVlm(Vlm, Protocol):
    """A Vlm that gives an answer's probability among all answers, not only among given choices."""

    def likelihoods(
        self,
        questions: Sequence[Question],
        answers: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """For each question the probability that its answer begins with each of `answers`.

        Upper and lower case count alike, and so do answers with and without a leading space. Other
        answers have the rest, so these need not sum to 1.
        """
        ...


@runtime_checkable
class LogitVlm(Vlm, Protocol):
    """A Vlm that gives answers' scores as its server does, for what orders by them."""

    def label_scores(
        self,
        questions: Sequence[Question],
        labels: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """For each question the logit of each of `labels` as first token, or its log-probability
        where only those are given; -inf for a label that is not among the likeliest tokens."""
        ...


@runtime_checkable
class NamedVlm(Vlm, Protocol):
    """A Vlm that knows which model answers, by the name of its weights or its family."""

    model_name: str


@runtime_checkable
class PictureKeeping(Vlm, Protocol):
    """A Vlm to which a further question about the latest pictures costs less than the first.

    So whoever asks about several pictures in turn asks all about one before the next.
    """

    def keeping_pictures(self) -> AbstractContextManager[None]:
        """Within it, what the latest pictures cost is kept from call to call."""
        ...
