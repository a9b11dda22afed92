"""A verifier as text: "checklist", "clip-score:FOLDER", or several as "2*checklist+rubric"."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from ..record import InputError

_PART = re.compile(r"(?:(\d+(?:\.\d+)?)\*)?([^:]+)(?::(.*))?")


@dataclass(frozen=True, slots=True)
class Part:
    """One verifier of a spec: its `weight`, its `name` and the `source` of its weights, or ""."""

    name: str
    source: str = ""
    weight: float = 1.0

    @property
    def text(self) -> str:
        """The part without its weight."""
        return f"{self.name}:{self.source}" if self.source else self.name


def spelled(part: Part) -> str:
    """The part with its weight, as `parts_of` reads it."""
    return f"{part.weight:g}*{part.text}"


def parts_of(spec: str, names: Collection[str]) -> list[Part]:
    """The verifiers that `spec` joins with "+"; a plus sign within a path stays there.

    Raises InputError for a name that is none of `names`.
    """
    known = "|".join(map(re.escape, names))
    return [_part(t, names) for t in re.split(rf"\+(?=(?:[\d.]+\*)?(?:{known})(?:[:+]|$))", spec)]


def _part(text: str, names: Collection[str]) -> Part:
    found = _PART.fullmatch(text)
    if found is None or found[2] not in names:
        name = found[2] if found else text
        raise InputError(
            f"There is no verifier named {name!r}. Choose one of: {', '.join(names)}; several are "
            "joined with +."
        )
    return Part(found[2], found[3] or "", float(found[1] or 1))
