"""A sheet of many prompts: one row each, with its pictures in the order of painting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from PIL import Image, ImageDraw

from ..record import Candidate, History
from .lettering import wrapped
from .overview import OverviewRow, overview_summary
from .sheet import (
    GUTTER,
    INK,
    LEAST_WIDTH,
    MARGIN,
    MUTED,
    PAPER,
    ROW_GAP,
    Cell,
    Line,
    box_size,
    caption_of,
    draw_rule,
    heading,
    paint_cell,
    write_lines,
)
from .words import candidate_name, counted

ACROSS = 6  # pictures per prompt; of more, the best are shown


def prompts_sheet(
    rows: Sequence[OverviewRow], histories: Sequence[History], note: str = ""
) -> Image.Image:
    """The pictures of each prompt with scores and faults; the best one has a frame.

    `histories` belong to `rows`, and at least one has a picture. `note` ends the heading.
    """
    everything = History((tuple(chain.from_iterable(histories)),))
    if not len(everything):
        raise ValueError("Prompts without pictures have no sheet.")
    most = max(len(shown_of(history)) for history in histories)
    box = box_size(everything, most)
    width = max(LEAST_WIDTH, 2 * MARGIN + most * (box[0] + GUTTER) - GUTTER)
    notes = [overview_summary(rows), note]
    head = list(heading(everything, counted(len(rows), "prompt"), notes, width - 2 * MARGIN))
    blocks, top = [], MARGIN + sum(line.leading for line in head) + 28
    for row, history in zip(rows, histories, strict=True):
        title = list(_title(row, history, width - 2 * MARGIN))
        below = top + sum(line.leading for line in title) + 12
        cells, bottom = _cells(row.prompt, history, box, below)
        blocks.append((top, title, cells, history))
        top = bottom + ROW_GAP
    sheet = Image.new("RGB", (width, top + MARGIN - ROW_GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    write_lines(draw, head, MARGIN, MARGIN)
    for top, title, cells, history in blocks:
        draw_rule(draw, top - 18, width)
        write_lines(draw, title, MARGIN, top)
        for cell in cells:
            candidate = cell.candidate
            best = candidate is history.best and candidate.verdict.judged
            paint_cell(sheet, cell, box, best=best)
    return sheet


def shown_of(history: History) -> list[tuple[tuple[int, int], Candidate]]:
    """The candidates on a sheet with their places, in the order of painting."""
    shown = history.ranked[:ACROSS]
    return [placed for placed in history.placed if placed[1] in shown]


def _title(row: OverviewRow, history: History, width: int) -> Iterator[Line]:
    texts, font = wrapped(row.prompt, 18, width, 2)
    for text in texts:
        yield Line(text, font, INK, leading=25)
    left_out = len(history) - len(shown_of(history))
    parts = [counted(row.cost.images, "picture") if len(history) else "nothing painted"]
    parts += [f"{left_out} of them not shown"] if left_out else []
    texts, font = wrapped(" · ".join(parts), 14, width, 1)
    yield Line(texts[0], font, MUTED, leading=22)


def _cells(prompt: str, history: History, box: tuple[int, int], top: int) -> tuple[list[Cell], int]:
    """The cells of one prompt, and the bottom of the lowest in pixels."""
    cells: list[Cell] = []
    bottom = top
    for column, (place, candidate) in enumerate(shown_of(history)):
        name = [("Name", candidate_name(*place))]
        caption = tuple(caption_of(candidate, name, prompt, box[0]))
        cells.append(Cell(candidate, caption, 0, MARGIN + column * (box[0] + GUTTER), top))
        bottom = max(bottom, top + box[1] + 38 + sum(line.leading for line in caption))
    return cells, bottom
