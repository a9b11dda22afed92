"""Questions to a vision-language model, whose failures must not become rejects if it is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.answers import ask
from reflectionflow_core.vlm.interface import Failure, Question, Vlm

Form = TypeVar("Form", bound=BaseModel)


def answers_of(vlm: Vlm, questions: Sequence[Question], form: type[Form]) -> list[Form | Failure]:
    """The answers of a slice; InputError if the model is away, see `check_present`."""
    answers = ask(vlm, questions, form) if questions else []
    check_present(answers)
    return answers


def check_present(answers: Sequence[object]) -> None:
    """InputError if several questions failed, and all by the server or its connection.

    Their pairs would be dropped for good; a resumed run asks again. A single question may be one
    that the server never answers in time.
    """
    away = [each for each in answers if isinstance(each, Failure) and each.temporary]
    if len(away) == len(answers) > 1:
        raise _away("The vision-language model does not answer", away[0].reason)


def check_judged(judged: Sequence[bool], reason: str) -> None:
    """InputError if a judge could judge none of several prompts or pairs, as if it is away."""
    if len(judged) > 1 and not any(judged):
        raise _away("The pictures are not judged", reason)


def _away(what: str, reason: str) -> InputError:
    return InputError(
        f"{what}: {reason} Start again with the same settings; what was finished is kept."
    )
