"""The grid of a contact sheet: rounds are columns, and each chain has a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from ..record import Candidate, History
from .words import round_name, score_text

MAX_ROWS, MAX_ROUNDS = 24, 20  # with more, pictures would be too small
PIXELATED = 128  # smaller pictures are enlarged by whole factors

Round = tuple[int, Sequence[Candidate]]  # its index and its shown candidates
Rows = Mapping[Candidate, int]


@dataclass(frozen=True, slots=True)
class Column:
    """One column, with a candidate or None in each row; a wide first round has several."""

    title: str
    note: str
    cells: tuple[Candidate | None, ...]


def columns(history: History) -> tuple[list[Column], int]:
    """The columns from left to right, and the number of candidates not shown."""
    rows = _best_rows(rows_of(history), history)
    (_, drafts), *rounds = _shown(history, rows)
    shown = [candidate for _, candidates in rounds for candidate in candidates]
    height = max([math.ceil(math.sqrt(len(drafts))), *(rows[c] + 1 for c in shown)])
    laid = list(_drafts(history, drafts, rows, height))
    for index, candidates in rounds:
        there = {rows[candidate]: candidate for candidate in candidates}
        cells = tuple(there.get(row) for row in range(height))
        laid.append(Column(round_name(index), _note(history, candidates), cells))
    return laid, len(history) - len(drafts) - len(shown)


def rows_of(history: History) -> Rows:
    """The row of each candidate: its parent's, or the first free one of its round.

    A draft has the row of its first child; drafts without children are not in the result.
    """
    rows: dict[Candidate, int] = {}
    for candidates in history.rounds[1:]:
        for row, candidate in _by_row(candidates, rows).items():
            rows[candidate] = row
            if candidate.parent is not None:
                rows.setdefault(candidate.parent, row)
    return rows


def parents_elsewhere(laid: Sequence[Column]) -> Iterator[tuple[Candidate, Candidate]]:
    """Each candidate whose parent is in another row, with that parent."""
    for row in zip(*(column.cells for column in laid), strict=True):
        for candidate in row:
            if candidate and candidate.parent and candidate.parent not in row:
                yield candidate, candidate.parent


def _by_row(candidates: Sequence[Candidate], rows: Rows) -> dict[int, Candidate]:
    """The candidates of a round by row."""
    children: dict[int, Candidate] = {}
    for candidate in candidates:
        if candidate.parent is not None and candidate.parent in rows:
            children.setdefault(rows[candidate.parent], candidate)
    placed = set(children.values())
    others = [candidate for candidate in candidates if candidate not in placed]
    free = (row for row in count() if row not in children)
    return children | dict(zip(free, others, strict=False))


def _best_rows(rows: Rows, history: History) -> Rows:
    """The rows to show, renumbered: all, or those with the best pictures."""
    drafts = set(history.rounds[0])
    best = dict.fromkeys(rows[c] for c in history.ranked if c not in drafts)  # rows, best first
    number = {row: i for i, row in enumerate(sorted([*best][:MAX_ROWS]))}
    return {candidate: number[row] for candidate, row in rows.items() if row in number}


def _shown(history: History, rows: Rows) -> list[Round]:
    """The drafts and all later rounds; of many rounds, the best and the latest."""
    rounds = list(enumerate(history.rounds))
    best = next(index for index, candidates in rounds if history.best in candidates)
    kept = {best, *range(len(rounds) - MAX_ROUNDS, len(rounds))}
    later = [
        (index, tuple(candidate for candidate in candidates if candidate in rows))
        for index, candidates in rounds[1:]
        if index in kept
    ]
    return [(0, _drafts_to_show(history, later)), *later]


def _drafts_to_show(history: History, rounds: Sequence[Round]) -> Sequence[Candidate]:
    """The drafts of the shown chains, and the best others."""
    drafts, most = history.rounds[0], MAX_ROWS * 4
    if len(drafts) <= most:
        return drafts
    roots = {c.lineage[0] for _, candidates in rounds for c in candidates}
    place = {candidate: i for i, candidate in enumerate(history.ranked)}
    kept = set(sorted(drafts, key=lambda draft: (draft not in roots, place[draft]))[:most])
    return tuple(draft for draft in drafts if draft in kept)


def _drafts(
    history: History, drafts: Sequence[Candidate], rows: Rows, height: int
) -> Iterator[Column]:
    """The columns of the drafts, each in the row of its chain, so that arrows are straight."""
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
    free = iter([i for i, occupant in enumerate(grid) if occupant is None])
    for draft in waiting:
        grid[next(free)] = draft
    for start in range(0, len(grid), height):
        first = start == 0
        yield Column(
            round_name(0, len(drafts)) if first else "",
            _note(history, drafts) if first else "",
            tuple(grid[start : start + height]),
        )


def _note(history: History, candidates: Sequence[Candidate]) -> str:
    there = set(candidates)
    best = next(candidate for candidate in history.ranked if candidate in there)
    known = best.finished and best.verdict.judged and len(candidates) > 1
    return f"best {score_text(best.score)}" if known else ""
