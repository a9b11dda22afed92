"""Where each candidate stands on a contact sheet: rounds are columns, chains are rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..record import Candidate, History
from .words import round_name, score_text

MOST_ROWS, MOST_ROUNDS = 24, 20  # of a picture that is still one to look at


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a candidate or nothing in each row. A wide first round takes several."""

    title: str
    note: str
    cells: tuple[Candidate | None, ...]


def columns(history: History) -> tuple[list[Column], int]:
    """The columns from left to right, and how many candidates they leave out."""
    rounds = _shown(history)
    corrected = [candidates for index, candidates in rounds if index]
    drafts = rounds[0][1]
    rows = max([math.ceil(math.sqrt(len(drafts))), *map(len, corrected)])
    laid = list(_drafts(drafts, corrected[0] if corrected else (), rows))
    for index, candidates in rounds[1:]:
        padding = (None,) * (rows - len(candidates))
        laid.append(Column(round_name(index), _note(candidates), (*candidates, *padding)))
    return laid, len(history) - sum(len(candidates) for _, candidates in rounds)


def _shown(history: History) -> list[tuple[int, tuple[Candidate, ...]]]:
    """The rounds with their indices: all, or the drafts, the best round and the latest ones."""
    rounds = list(enumerate(history.rounds))
    best = next(index for index, candidates in rounds if history.best in candidates)
    kept = {0, best, *range(len(rounds) - MOST_ROUNDS, len(rounds))}
    places = _places(history)
    shown = [
        (index, tuple(c for place, c in enumerate(candidates) if place in places or not index))
        for index, candidates in rounds
        if index in kept
    ]
    return [(0, _most_telling(shown[0][1], shown[1:])), *shown[1:]]


def _places(history: History) -> set[int]:
    """The chains to show: those that hold the best pictures."""
    width = max(map(len, history.rounds[1:]), default=0)
    if width <= MOST_ROWS:
        return set(range(width))
    best = {
        place: max(r[place].score for r in history.rounds[1:] if place < len(r))
        for place in range(width)
    }
    return set(sorted(best, key=lambda place: best[place], reverse=True)[:MOST_ROWS])


def _most_telling(
    drafts: tuple[Candidate, ...], rounds: Sequence[tuple[int, tuple[Candidate, ...]]]
) -> tuple[Candidate, ...]:
    """The drafts that shown chains began with, and the best of the others."""
    room = MOST_ROWS * 4
    if len(drafts) <= room:
        return drafts
    roots = {id(c.lineage[0]) for _, candidates in rounds for c in candidates}
    ranked = sorted(drafts, key=lambda draft: (id(draft) in roots, draft.score), reverse=True)
    kept = {id(draft) for draft in ranked[:room]}
    return tuple(draft for draft in drafts if id(draft) in kept)


def _drafts(
    drafts: Sequence[Candidate], first_round: Sequence[Candidate], rows: int
) -> Iterator[Column]:
    """The drafts, each before the chain that began with it, so that arrows run straight."""
    count = math.ceil(len(drafts) / rows)
    grid: list[Candidate | None] = [None] * (count * rows)
    last = (count - 1) * rows
    waiting = list(drafts)
    for row, candidate in enumerate(first_round):
        root = candidate.lineage[0]
        if root in waiting:
            grid[last + row] = root
            waiting.remove(root)
    free = iter([place for place, occupant in enumerate(grid) if occupant is None])
    for draft in waiting:
        grid[next(free)] = draft
    for start in range(0, len(grid), rows):
        first = start == 0
        yield Column(
            round_name(0, len(drafts)) if first else "",
            _note(drafts) if first else "",
            tuple(grid[start : start + rows]),
        )


def _note(candidates: Sequence[Candidate]) -> str:
    return f"best {score_text(max(c.score for c in candidates))}" if len(candidates) > 1 else ""
