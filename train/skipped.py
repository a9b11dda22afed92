"""Samples that are not used: how many, why, and the names of some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from reflectionflow_core.flux.folders import listed


class Skipped(Counter[str]):
    """Counts by reason; a sample with a name is counted once, however often it is read."""

    def __init__(self, counts: Mapping[str, int] | Iterable[str] = ()) -> None:
        super().__init__(counts)
        self.names: dict[str, dict[str, None]] = {}  # in the order of their first reading

    def add(self, reason: str, name: str) -> None:
        known = self.names.setdefault(reason, {})
        if name not in known:
            known[name] = None
            self[reason] += 1

    def merge(self, other: Counter[str]) -> None:
        """Adds the counts and names of other samples."""
        self.update(other)
        for reason, names in other.names.items() if isinstance(other, Skipped) else ():
            self.names.setdefault(reason, {}).update(names)


def reasons(skipped: Counter[str]) -> str:
    """The reasons with their counts and the first names, the most frequent reason first."""
    names = skipped.names if isinstance(skipped, Skipped) else {}
    return ", ".join(_said(*each, names) for each in skipped.most_common()) or "none"


def _said(reason: str, count: int, names: Mapping[str, Mapping[str, None]]) -> str:
    named = f": {listed(names[reason])}" if names.get(reason) else ""
    return f"{reason} ({count}{named})"
