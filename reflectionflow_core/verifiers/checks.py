"""A prompt's requirements, and in which order they are asked about: never about a missing thing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from ..verdict import is_met
from ..vlm.interface import Failure
from ..vlm.texts import quoted, said, tidy

MAX_REQUIREMENTS = 20
_DENIAL = re.compile(
    r"\b(?:no|not|none|without|never|nothing|nobody|nowhere|free of|absent|empty)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
Answer = float | Failure  # P(yes), 0 to 1
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


def _numbers(given: Any) -> list[int]:
    """The whole numbers in what a model gave; a bad reference costs an order, not the list."""
    items = given if isinstance(given, list) else [given]
    return [int(text) for item in items if (text := str(item).strip()).isdecimal()]


class Requirement(BaseModel):
    """Something to be seen in a right picture, its question, and the name of its fault.

    `needs` are the numbers, from 1, of requirements without which the question makes no sense.
    """

    statement: Line
    question: Line
    fault: Annotated[str, StringConstraints(max_length=300)] = ""
    needs: Annotated[list[int], BeforeValidator(_numbers)] = Field(default_factory=list)


class Checklist(BaseModel):
    requirements: Annotated[list[Requirement], Field(min_length=1, max_length=MAX_REQUIREMENTS)]


@dataclass(frozen=True, slots=True)
class Check:
    """A requirement as it is asked; `needs` are the statements of others.

    `again` asks the same in other words, one after another.
    """

    statement: str
    question: str
    fault: str = ""
    needs: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    @property
    def unmet(self) -> str:
        return said(self.fault) or f"not as asked: {self.statement}"


def checks_of(
    requirements: Sequence[Requirement], form: str, again: Sequence[str] = ()
) -> list[Check]:
    """The requirements, each once, with their questions in `form` and in the forms of `again`."""
    named = [said(item.statement) if said(item.question) else "" for item in requirements]
    first: dict[str, Requirement] = {}
    for name, item in zip(named, requirements, strict=True):
        first.setdefault(name, item)
    return [
        Check(
            name,
            form.format(question=quoted(_question(first[name]))),
            first[name].fault,
            _needs(name, first[name].needs, named),
            tuple(other.format(question=quoted(_question(first[name]))) for other in again),
        )
        for name in first
        if name
    ]


def _question(item: Requirement) -> str:
    """The question of a requirement. "Are there dogs?" would be answered "yes" exactly where "no
    dogs" is not met, so what is denied is asked for by its statement."""
    denied = _DENIAL.search(item.statement) and not _DENIAL.search(item.question)
    return f"Does the picture show this: {tidy(item.statement)}?" if denied else item.question


def _needs(name: str, numbers: Sequence[int], named: Sequence[str]) -> tuple[str, ...]:
    known = [named[number - 1] for number in numbers if 0 < number <= len(named)]
    return tuple(dict.fromkeys(need for need in known if need and need != name))


def ready(checks: Sequence[Check], answers: Mapping[str, Answer]) -> list[Check]:
    """The checks to ask next: those without an answer whose needs have one.

    If the rest need each other in a circle, all of it.
    """
    waiting = [check for check in checks if check.statement not in answers]
    return [c for c in waiting if all(need in answers for need in c.needs)] or waiting


def ruled_out(checks: Sequence[Check], answers: Mapping[str, Answer]) -> dict[str, float]:
    """P(yes) of checks that are not asked because they need something missing: at most that of the
    need.

    A need without an answer rules nothing out.
    """
    found: dict[str, float] = {}
    for _ in checks:  # each may rule out another
        known = {**answers, **found}
        for check in checks:
            ps = [p for p in map(known.get, check.needs) if isinstance(p, float) and not is_met(p)]
            if ps and check.statement not in known:
                found[check.statement] = min(ps)
    return found
