"""How many calls of vision-language models may still be made.

A search opens an allowance around each question to an actor. Every door to a model takes a call
from it before each request, retries too, so that a budget holds whoever asks and however often.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock


class NoCallsLeftError(Exception):
    """A call that the budget does not allow, and that was not made; the message is one sentence."""


class Allowance:
    """So many calls may be made, or any number for None; `taken` were. Safe among threads."""

    def __init__(self, calls: int | None = None, budget: int | None = None) -> None:
        """`budget` is what the calls are left of, for the message."""
        self.taken = 0
        self._most, self._budget, self._lock = calls, budget, Lock()

    def take(self, calls: int) -> None:
        """Raises NoCallsLeftError if there are not so many left, and takes none then."""
        with self._lock:
            if self._most is not None and self.taken + calls > self._most:
                calls_of = "1 VLM call" if self._budget == 1 else f"{self._budget} VLM calls"
                raise NoCallsLeftError(f"The budget of {calls_of} is used up.")
            self.taken += calls

    def add(self, calls: int) -> None:
        """Counts calls that were made before, also more than are left; negative ones were not."""
        with self._lock:
            self.taken += calls


_ALLOWANCE: ContextVar[Allowance | None] = ContextVar("reflectionflow_calls", default=None)


@contextmanager
def calls_allowed(calls: int | None, budget: int | None) -> Iterator[Allowance]:
    """Within it doors make at most so many calls, of a `budget`; any number for None."""
    allowance = Allowance(calls, budget)
    token = _ALLOWANCE.set(allowance)
    try:
        yield allowance
    finally:
        _ALLOWANCE.reset(token)


def take_calls(calls: int = 1) -> None:
    """To be called before requests are made. Raises NoCallsLeftError if none of them may be."""
    if (allowance := _ALLOWANCE.get()) is not None:
        allowance.take(calls)


def give_back_calls(calls: int = 1) -> None:
    """For calls that were taken, and that did not go out."""
    add_calls(-calls)


def add_calls(calls: int) -> None:
    """For calls that were made before a search began, and that are charged now."""
    if (allowance := _ALLOWANCE.get()) is not None:
        allowance.add(calls)
