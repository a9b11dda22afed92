"""One door to vision-language models, whoever runs them: ask in batches, get answers in order.

A model that does not answer is no error of ours: its place in the list holds a Failure that says
why, and whoever asked decides. Cancelling is the one thing that raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from PIL.Image import Image

from ..protocols import SILENT, Progress


@dataclass(frozen=True, slots=True)
class Question:
    """One call: pictures and a text below them, under a `system` text.

    With a `schema` (JSON Schema of an object) the answer is to be such an object as JSON; servers
    that can are told to keep to it, and no one may rely on that: see `answers.ask`.
    """

    text: str
    images: tuple[Image, ...] = ()
    system: str = ""
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer; `reason` is one sentence that names neither key nor address."""

    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent: requests that reached a model (retries too), and tokens where it says so."""

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
    """Answers every question in its place; greedy unless it was made otherwise.

    `usage` grows. Progress is reported under the asker's `phase` after every finished question,
    and `progress.check` is called at least every generated token or every tenth of a second.
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
        """For each question the probability of each choice as the answer's beginning; sums to 1."""
        ...


@runtime_checkable
class ExactVlm(Vlm, Protocol):
    """A Vlm that knows how likely an answer is among all that it could say, not only among some."""

    def likelihoods(
        self,
        questions: Sequence[Question],
        answers: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """For each question the probability that its answer begins with each of `answers`.

        They are counted in upper and lower case, with and without a space. What the model would
        rather say has the rest, so that they need not sum to 1.
        """
        ...
