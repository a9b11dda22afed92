"""What a model did not answer: said as it happens, and not remembered if it may pass."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocols import Progress
from ..record import InputError
from .interface import Failure

MOST_REASONS = 3  # that are quoted


def say_failures(answers: Sequence[object], progress: Progress, who: str, then: str) -> None:
    """One line if some answers are Failures: "The writer failed at 2 of 4; ...: why".

    `who` begins the sentence, `then` says what takes the place of the answers.
    """
    failed = [answer.reason for answer in answers if isinstance(answer, Failure)]
    if failed:
        reasons = " ".join(list(dict.fromkeys(failed))[:MOST_REASONS])
        share = f" at {len(failed)} of {len(answers)}" if len(answers) > 1 else ""
        progress.say(f"{who} failed{share}; {then}: {reasons}")


def check_lasting(answer: object, what: str) -> None:
    """Raises InputError for a temporary Failure, since what stands for it would be recorded.

    `what` says what is missing: "The plan could not be written."
    """
    if isinstance(answer, Failure) and answer.temporary:
        raise InputError(f"{what} {answer.reason}")
