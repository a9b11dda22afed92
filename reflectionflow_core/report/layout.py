"""Where each candidate stands on a contact sheet: rounds are columns, and a chain keeps its row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from ..record import Candidate, History
from .words import round_name, score_text

MOST_ROWS, MOST_ROUNDS = 24, 20  # of a picture that is still one to look at

Round = tuple[int, Sequence[Candidate]]  # its index and those of its candidates that are shown
Rows = Mapping[Candidate, int]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a candidate or nothing in each row. A wide first round takes several."""

    title: str
    note: str
    cells: tuple[Candidate | None, ...]


def columns(history: History) -> tuple[list[Column], int]:
    """The columns from left to right, and how many candidates they leave out."""
    rows = _best_rows(rows_of(history), history)
    (_, drafts), *rounds = _shown(history, rows)
    shown = [candidate for _, candidates in rounds for candidate in candidates]
    height = max([math.ceil(math.sqrt(len(drafts))), *(rows[c] + 1 for c in shown)])
    laid = list(_drafts(drafts, rows, height))
    for index, candidates in rounds:
        there = {rows[candidate]: candidate for candidate in candidates}
        cells = tuple(there.get(row) for row in range(height))
        laid.append(Column(round_name(index), _note(candidates), cells))
    return laid, len(history) - len(drafts) - len(shown)


def rows_of(history: History) -> Rows:
    """The row of each candidate: that of its parent, else the first that its round leaves free.

    A draft has the row of the first candidate that goes on from it, and none if nobody does.
    """
    rows: dict[Candidate, int] = {}
    for candidates in history.rounds[1:]:
        for row, candidate in _seated(candidates, rows).items():
            rows[candidate] = row
            if candidate.parent is not None:
                rows.setdefault(candidate.parent, row)
    return rows


def parents_elsewhere(laid: Sequence[Column]) -> Iterator[tuple[Candidate, Candidate]]:
    """Each candidate whose parent does not stand in its row, with that parent."""
    for row in zip(*(column.cells for column in laid), strict=True):
        for candidate in row:
            if candidate and candidate.parent and candidate.parent not in row:
                yield candidate, candidate.parent


def _seated(candidates: Sequence[Candidate], rows: Rows) -> dict[int, Candidate]:
    """Who of a round stands in which row."""
    heirs: dict[int, Candidate] = {}
    for candidate in candidates:
        if candidate.parent is not None and candidate.parent in rows:
            heirs.setdefault(rows[candidate.parent], candidate)
    seated = set(heirs.values())
    others = [candidate for candidate in candidates if candidate not in seated]
    free = (row for row in count() if row not in heirs)
    return heirs | dict(zip(free, others, strict=False))


def _best_rows(rows: Rows, history: History) -> Rows:
    """The rows to show, numbered anew: all, or those that hold the best pictures."""
    best: dict[int, float] = {}
    for candidates in history.rounds[1:]:
        for candidate in candidates:
            row = rows[candidate]
            best[row] = max(best.get(row, candidate.score), candidate.score)
    kept = sorted(best, key=lambda row: best[row], reverse=True)[:MOST_ROWS]
    number = {row: i for i, row in enumerate(sorted(kept))}
    return {candidate: number[row] for candidate, row in rows.items() if row in number}


def _shown(history: History, rows: Rows) -> list[Round]:
    """The drafts, and all later rounds, or of many the best and the latest ones."""
    rounds = list(enumerate(history.rounds))
    best = next(index for index, candidates in rounds if history.best in candidates)
    kept = {best, *range(len(rounds) - MOST_ROUNDS, len(rounds))}
    later = [
        (index, tuple(candidate for candidate in candidates if candidate in rows))
        for index, candidates in rounds[1:]
        if index in kept
    ]
    return [(0, _most_telling(history.rounds[0], later)), *later]


def _most_telling(drafts: Sequence[Candidate], rounds: Sequence[Round]) -> Sequence[Candidate]:
    """The drafts that shown chains began with, and the best of the others."""
    room = MOST_ROWS * 4
    if len(drafts) <= room:
        return drafts
    roots = {c.lineage[0] for _, candidates in rounds for c in candidates}
    ranked = sorted(drafts, key=lambda draft: (draft in roots, draft.score), reverse=True)
    kept = set(ranked[:room])
    return tuple(draft for draft in drafts if draft in kept)


def _drafts(drafts: Sequence[Candidate], rows: Rows, height: int) -> Iterator[Column]:
    """The drafts, each before the chain that began with it, so that arrows run straight."""
    wide = math.ceil(len(drafts) / height)
    grid: list[Candidate | None] = [None] * (wide * height)
    last = (wide - 1) * height
    waiting: list[Candidate] = []
    for draft in drafts:
        row = rows.get(draft, height)
        if row < height and grid[last + row] is None:
            grid[last + row] = draft
        else:
            waiting.append(draft)
    free = iter([place for place, occupant in enumerate(grid) if occupant is None])
    for draft in waiting:
        grid[next(free)] = draft
    for start in range(0, len(grid), height):
        first = start == 0
        yield Column(
            round_name(0, len(drafts)) if first else "",
            _note(drafts) if first else "",
            tuple(grid[start : start + height]),
        )


def _note(candidates: Sequence[Candidate]) -> str:
    scores = [candidate.score for candidate in candidates if candidate.finished]
    return f"best {score_text(max(scores))}" if scores and len(candidates) > 1 else ""
