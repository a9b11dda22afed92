"""Any pictures, ranked by a verifier: a sheet, a page and text, with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image, ImageDraw

from ..record import Candidate, History, Verdict
from ..search import unjudged_text
from .cards import boxed_picture, boxes_switch, captions, details, judged_facts, score_line
from .page import FEW, document
from .sheet import (
    GUTTER,
    LEAST_WIDTH,
    MARGIN,
    PAPER,
    ROW_GAP,
    Cell,
    box_size,
    caption_of,
    draw_rule,
    heading,
    legend,
    paint_cell,
    write_lines,
)
from .words import counted, verdict_text

COLUMNS = 4
FAULT_LINES = 8  # lines of faults per picture
MOST = 200  # pictures on a sheet; viewers cannot show much higher ones well
EDGE = 640  # side of a picture on the page in pixels
SMALL_EDGE = 256  # the same if there are many
NAME = 44  # longest file name on a sheet, in characters


@dataclass(frozen=True, slots=True)
class Ranking:
    """Judged pictures with their names, best first; `prompt` is what they should show.

    `label` describes the names in a word; `sizes` are width and height of the files.
    """

    prompt: str
    names: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    label: str = "File"
    sizes: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(
        cls,
        prompt: str,
        names: Sequence[str],
        images: Sequence[Image.Image],
        verdicts: Sequence[Verdict],
        label: str = "File",
        prompts: Sequence[str] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Ranking:
        """Pictures ranked by score; equal ones keep their order.

        `prompts` are the pictures' own prompts; `sizes` those of their files if `images` are
        smaller copies.
        """
        order = sorted(range(len(images)), key=lambda i: verdicts[i].rank, reverse=True)
        whole = sizes or [image.size for image in images]
        asked = prompts or [prompt] * len(images)
        painted = (Candidate(images[i], asked[i], 0, verdicts[i]) for i in order)
        ranked = tuple(names[i] for i in order)
        return cls(prompt, ranked, tuple(painted), label, tuple(whole[i] for i in order))

    @property
    def history(self) -> History:
        return History((self.candidates,))

    @property
    def best(self) -> Candidate | None:
        """The first picture, if it was judged."""
        first = self.candidates[0]
        return first if first.verdict.judged else None


def ranking_text(ranking: Ranking) -> str:
    """A line per picture, best first, and how many could not be judged."""
    pairs = zip(ranking.names, ranking.candidates, strict=True)
    lines = [f"{name}: {verdict_text(candidate.verdict)}" for name, candidate in pairs]
    return "\n".join([*lines, *filter(None, [unjudged_text(ranking.history)])])


def ranking_sheet(ranking: Ranking, note: str = "") -> Image.Image:
    """The best MOST pictures in rows, with boxes, scores and faults; `note` is below the prompt."""
    shown = min(MOST, len(ranking.names))
    history = History((ranking.candidates[:shown],))
    box = box_size(history, shown)
    across = min(COLUMNS, shown)
    width = max(LEAST_WIDTH, 2 * MARGIN + across * (box[0] + GUTTER) - GUTTER)
    left_out = len(ranking.names) - shown
    count = f"the best {shown} of {len(ranking.names)} pictures" if left_out else ""
    notes = [" · ".join(filter(None, [count or counted(shown, "picture"), note]))]
    head = list(heading(ranking.history, ranking.prompt, notes, width - 2 * MARGIN))
    foot = list(legend(history, ranking.prompt, width - 2 * MARGIN))
    top = MARGIN + sum(line.leading for line in head) + 28
    cells, bottom = _cells(ranking, shown, across, box, top + 12)
    height = bottom + sum(line.leading for line in foot) + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    write_lines(draw, head, MARGIN, MARGIN)
    draw_rule(draw, top - 18, width)
    draw_rule(draw, bottom - 10, width)
    write_lines(draw, foot, MARGIN, bottom)
    for cell in cells:
        paint_cell(sheet, cell, box, best=cell.candidate is ranking.best)
    return sheet


def _cells(
    ranking: Ranking, shown: int, across: int, box: tuple[int, int], top: int
) -> tuple[list[Cell], int]:
    """The cells, and the bottom of the last row; rows are as high as their longest caption."""
    cells: list[Cell] = []
    for start in range(0, shown, across):
        lowest = top
        for index in range(start, min(start + across, shown)):
            candidate, x = ranking.candidates[index], MARGIN + (index - start) * (box[0] + GUTTER)
            origin = [(ranking.label, _short(ranking.names[index]))]
            caption = tuple(caption_of(candidate, origin, ranking.prompt, box[0], FAULT_LINES))
            cells.append(Cell(candidate, caption, start, x, top))
            lowest = max(lowest, top + box[1] + 38 + sum(line.leading for line in caption))
        top = lowest + ROW_GAP
    return cells, top


def _short(name: str) -> str:
    """A long name without its middle: names of related files differ at their ends."""
    half = NAME // 2
    return name if len(name) <= NAME else f"{name[:half]}...{name[-half:]}"


def ranking_page(ranking: Ranking, note: str = "") -> str:
    """One HTML file with all pictures embedded, their boxes and findings."""
    edge = EDGE if len(ranking.names) <= FEW else SMALL_EDGE
    failed = unjudged_text(ranking.history)
    alert = f'<p class="failed" role="alert">{escape(failed)}</p>' if failed else ""
    rows = zip(ranking.names, ranking.candidates, ranking.sizes, strict=True)
    cards = "\n".join(_card(*row, edge, row[1] is ranking.best) for row in rows)
    about = " · ".join(filter(None, [counted(len(ranking.names), "picture"), note]))
    boxes = boxes_switch(ranking.history)
    return document(
        ranking.prompt,
        f"<header><h1>{escape(ranking.prompt)}</h1><p>{escape(about)}</p>{alert}</header>\n"
        f'<section><h2>Best first</h2>{boxes}<div class="cards">{cards}</div></section>',
    )


def _card(name: str, candidate: Candidate, size: tuple[int, int], edge: int, best: bool) -> str:
    badge = '<span class="badge">best</span>' if best else ""
    picture = boxed_picture(candidate, edge, f"{name}: {verdict_text(candidate.verdict)}")
    return (
        f"<article{' class=best' if best else ''}>{picture}"
        f'<div class="text"><div class="line">{score_line(candidate)}{badge}'
        f'<span class="name">{escape(name)}</span></div>'
        f"{captions(candidate, {})}{details(judged_facts(candidate, size))}</div></article>"
    )
