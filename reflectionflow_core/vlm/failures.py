"""Unanswered questions: reported at once, and not recorded if they may be temporary."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..allowance import NoCallsLeftError
from ..protocols import Progress
from ..record import InputError
from .interface import Failure

Answer = TypeVar("Answer")
Client = TypeVar("Client")
Item = TypeVar("Item")
MOST_REASONS = 3  # reasons that are quoted
_SAID = re.compile(r"[^;:.]+ failed(?: at \d+ of \d+)?; ")


class UnfitError(Exception):
    """A question of a batch cannot be asked; the message is the reason of its Failure."""


def not_allowed(error: NoCallsLeftError) -> Failure:
    """A Failure: the budget does not allow the call."""
    return Failure(str(error), temporary=True)


def within_budget(
    ask: Callable[[Client, Item], Awaitable[Answer]],
) -> Callable[[Client, Item], Awaitable[Answer | Failure]]:
    """`ask`, with a Failure as answer if no call is allowed."""

    async def asked(client: Client, item: Item) -> Answer | Failure:
        try:
            return await ask(client, item)
        except NoCallsLeftError as error:
            return not_allowed(error)

    return asked


def say_failures(answers: Sequence[object], progress: Progress, who: str, then: str) -> None:
    """Reports failed answers in one line: "The writer failed at 2 of 4; ...: why".

    `who` is the subject; `then` says what replaces the answers.
    """
    failed = [answer.reason for answer in answers if isinstance(answer, Failure)]
    if failed:
        reasons = " ".join(list(dict.fromkeys(failed))[:MOST_REASONS])
        share = f" at {len(failed)} of {len(answers)}" if len(answers) > 1 else ""
        progress.say(f"{who} failed{share}; {then}: {reasons}")


def tells_failures(line: str) -> bool:
    """Whether a line is from `say_failures`, and not about a wait that is over by now."""
    return _SAID.match(line) is not None


def check_lasting(answer: object, what: str) -> None:
    """InputError for a temporary Failure, whose replacement would otherwise be recorded.

    `what` says what is missing: "The plan could not be written."
    """
    if isinstance(answer, Failure) and answer.temporary:
        raise InputError(f"{what} {answer.reason}")
