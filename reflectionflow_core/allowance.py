"""How many calls of vision-language models may still be made.

A search opens an allowance around each question to an actor. Every client of a model takes a call
from it before each request, retries included, so the budget holds whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock


class NoCallsLeftError(Exception):
    """The budget did not allow a call, so it was not made; the message is one sentence."""


class Allowance:
    """A limit on calls, None for none; `taken` is how many were made. Thread-safe."""

    def __init__(self, calls: int | None = None, budget: int | None = None) -> None:
        """`budget` is the whole budget that `calls` is left of, for the message."""
        self.taken = 0
        self._most, self._budget, self._lock = calls, budget, Lock()

    def take(self, calls: int) -> None:
        """Takes so many calls, or raises NoCallsLeftError without taking any."""
        with self._lock:
            if self._most is not None and self.taken + calls > self._most:
                calls_of = "1 VLM call" if self._budget == 1 else f"{self._budget} VLM calls"
                raise NoCallsLeftError(f"The budget of {calls_of} is used up.")
            self.taken += calls

    def add(self, calls: int) -> None:
        """Adds earlier calls, even beyond the limit; a negative number takes some back."""
        with self._lock:
            self.taken += calls


_ALLOWANCE: ContextVar[Allowance | None] = ContextVar("reflectionflow_calls", default=None)


@contextmanager
def calls_allowed(calls: int | None, budget: int | None) -> Iterator[Allowance]:
    """A context in which clients may make so many calls, of a `budget`; None is no limit."""
    allowance = Allowance(calls, budget)
    token = _ALLOWANCE.set(allowance)
    try:
        yield allowance
    finally:
        _ALLOWANCE.reset(token)


def take_calls(calls: int = 1) -> None:
    """Call this before making requests. Raises NoCallsLeftError if they are not allowed."""
    if (allowance := _ALLOWANCE.get()) is not None:
        allowance.take(calls)


def give_back_calls(calls: int = 1) -> None:
    """Returns calls that were taken but not made."""
    add_calls(-calls)


def add_calls(calls: int) -> None:
    """Charges calls that were made before the search began."""
    if (allowance := _ALLOWANCE.get()) is not None:
        allowance.add(calls)
