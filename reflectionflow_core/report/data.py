"""A History as plain data, for programs that read a search's report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..archive.lines import entry_of
from ..record import COUNTED, Cost, History
from ..search import unjudged_text
from ..settings import SearchSettings

ARCHIVE_ONLY = ("image", "sha256", "cost")  # fields of an archive's line


def as_data(
    history: History, prompt: str, settings: SearchSettings | None = None, model: str = ""
) -> dict[str, Any]:
    """A history as JSON values, without the pictures.

    `best` and each candidate's `parent` are indices into `candidates`, which are in painting order;
    a parent in another search is None. `best` is None if nothing was painted or judged. The score
    of an unjudged picture is None; `unjudged` says how many there are and why, "" if there are
    none.
    """
    index: dict[int, int] = {}
    candidates = []
    for slot, candidate in history.placed:
        parent = index.get(id(candidate.parent))
        record = entry_of(candidate, len(index), slot, parent, Cost()).record()
        candidates.append({name: record[name] for name in record if name not in ARCHIVE_ONLY})
        index[id(candidate)] = len(index)
    cost = history.cost
    return {
        "prompt": prompt,
        "model": model,
        "settings": asdict(settings) if settings else None,
        "cost": {name: getattr(cost, name) for name in COUNTED} | {"seconds": dict(cost.seconds)},
        "best": index[id(history.best)] if index and history.best.verdict.judged else None,
        "unjudged": unjudged_text(history),
        "feedback": [said.data() for said in history.feedback],
        "candidates": candidates,
    }
