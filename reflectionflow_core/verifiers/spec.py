"""Verifiers as text: "checklist", "clip-score:FOLDER", or several as "2*checklist+rubric"."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..record import InputError

_PART = re.compile(r"(?:(\d+(?:\.\d+)?)\*)?([^:]+)(?::(.*))?")

MOST_WEIGHT = 1e6
BY_NEED = ("objects", "text", "checklist")  # joined verifiers that share a prompt's needs


@dataclass(frozen=True, slots=True)
class VerifierSpec:
    """One verifier of a spec; `source` is the folder of its weights or "".

    `str` gives it with its weight, as read by `parse_verifiers`.
    """

    name: str
    source: str = ""
    weight: float = 1.0

    @property
    def text(self) -> str:
        """The spec without its weight."""
        return f"{self.name}:{self.source}" if self.source else self.name

    def __str__(self) -> str:
        return f"{self.weight:g}*{self.text}"


def parse_verifiers(spec: str, names: Collection[str]) -> list[VerifierSpec]:
    """The verifiers in `spec`, which are joined by "+"; a plus sign in a path is kept.

    InputError for a name that is not in `names`, or that is joined with itself.
    """
    known = "|".join(map(re.escape, names))
    found = re.split(rf"\+(?=(?:[\d.]+\*)?(?:{known})(?:[:+]|$))", spec)
    parts = [_parse(text, names) for text in found]
    texts = [part.text for part in parts]
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise InputError(f"The verifier {twice[0]} is joined with itself. Keep one of them.")
    return parts


def shares_needs(parts: Sequence[VerifierSpec]) -> bool:
    """Whether the verifiers share a prompt's needs: those in BY_NEED, once each, unweighted."""
    names = [part.name for part in parts]
    plain = all(part.weight == 1 for part in parts) and len({*names}) == len(names)
    return plain and len(parts) > 1 and {*names} <= {*BY_NEED}


def _parse(text: str, names: Collection[str]) -> VerifierSpec:
    found = _PART.fullmatch(text)
    if found is None or found[2] not in names:
        name = found[2] if found else text
        raise InputError(
            f"There is no verifier named {name!r}. Choose one of: {', '.join(names)}; several are "
            "joined with +."
        )
    weight = float(found[1] or 1)
    if not 0 < weight <= MOST_WEIGHT:
        raise InputError(
            f"The weight of the verifier {found[2]} must be above 0 and at most {MOST_WEIGHT:g}. "
            "Change it, or leave the verifier out."
        )
    return VerifierSpec(found[2], found[3] or "", weight)
