"""A History as plain data, for programs that read a search's report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..archive.lines import COUNTED, entry_of
from ..record import Cost, History, SearchSettings

ON_DISK = ("image", "sha256", "cost")  # what only a line of an archive needs


def as_data(
    history: History, prompt: str, settings: SearchSettings | None = None, model: str = ""
) -> dict[str, Any]:
    """What JSON can hold of a history: everything but the pictures.

    `best` and each candidate's `parent` are indices into `candidates`, which stand in the order in
    which they were painted. `best` is None where nothing was painted.
    """
    index: dict[int, int] = {}
    candidates = []
    for place, candidate in history.placed:
        parent = None if candidate.parent is None else index[id(candidate.parent)]
        record = entry_of(candidate, len(index), place, parent, Cost()).record()
        candidates.append({name: record[name] for name in record if name not in ON_DISK})
        index[id(candidate)] = len(index)
    cost = history.cost
    return {
        "prompt": prompt,
        "model": model,
        "settings": asdict(settings) if settings else None,
        "cost": {name: getattr(cost, name) for name in COUNTED} | {"seconds": dict(cost.seconds)},
        "best": index[id(history.best)] if index else None,
        "candidates": candidates,
    }
