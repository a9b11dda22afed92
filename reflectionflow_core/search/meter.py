"""What an actor's answers cost in calls of vision-language models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from ..protocols import Actors, Counting

Answer = TypeVar("Answer")


class Asked(Protocol):
    """What a verifier, a writer, an evolver and an inspector have in common."""

    calls: int


def metered(
    actor: Asked, items: int, question: Callable[[], list[Answer]]
) -> tuple[list[Answer], int]:
    """The answers to `items` items and the calls of all: counted if the actor counts, else
    `calls` for each item.
    """
    before = spent_by(actor)
    answers = question()
    after = spent_by(actor)
    if before is None or after is None:
        return answers, actor.calls * items
    return answers, after - before


def spent_by(actor: object) -> int | None:
    """All calls that an actor has made so far; None where it does not count them."""
    return actor.spent if isinstance(actor, Counting) else None


def counted(actors: Actors) -> bool:
    """True if any of the actors counts its own calls."""
    asked = (actors.verifier, actors.writer, actors.evolver, actors.inspector)
    return any(spent_by(actor) is not None for actor in asked)


def shares(total: int, items: int) -> list[int]:
    """A total as whole numbers, one an item; the first items bear what does not divide."""
    each, rest = divmod(total, items)
    return [each + (i < rest) for i in range(items)]
