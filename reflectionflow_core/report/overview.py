"""An overview of many searches: the best picture of each, its flaws and its cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

from ..record import Cost, History, Verdict
from .layout import PIXELATED
from .page import document
from .words import cost_text, counted, score_text, verdict_text


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """One prompt in an overview.

    `folder` has its run, next to the page. `best` is the verdict of the best picture (None: nothing
    painted yet); `pixels` is True for small pictures, which are shown enlarged.
    """

    prompt: str
    folder: str
    cost: Cost = field(default_factory=Cost)
    best: Verdict | None = None
    pixels: bool = False


def row_of(prompt: str, folder: str, history: History) -> OverviewRow:
    if not len(history):
        return OverviewRow(prompt, folder, history.cost)
    best = history.best
    pixels = max(best.image.size) <= PIXELATED
    return OverviewRow(prompt, folder, history.cost, best.verdict, pixels)


def overview_text(rows: Sequence[OverviewRow]) -> str:
    """A line per prompt, and a summary."""
    lines = [
        f"{row.folder}: {row.prompt}\n    {counted(row.cost.images, 'picture')}: {_result(row)}"
        for row in rows
    ]
    return "\n".join([*lines, overview_summary(rows)]) + "\n"


def overview_summary(rows: Sequence[OverviewRow]) -> str:
    passed = sum(bool(row.best and row.best.passed) for row in rows)
    failed = sum(bool(row.best and not row.best.judged) for row in rows)
    unjudged = f", {failed} could not be judged" if failed else ""
    cost = sum((row.cost for row in rows), Cost())
    return f"{passed} of {counted(len(rows), 'prompt')} passed{unjudged}, after {cost_text(cost)}."


def overview_page(rows: Sequence[OverviewRow], about: str = "") -> str:
    """A table of all prompts, then their best pictures, linked to their folders."""
    title = counted(len(rows), "prompt")
    return document(
        title,
        f"<header><h1>{title}</h1><p>{escape(overview_summary(rows))}</p>"
        f"<p>{escape(about)}</p></header>\n{_table(rows)}\n"
        f'<section><h2>Best pictures</h2><div class="cards">{_cards(rows)}</div></section>',
    )


def _table(rows: Iterable[OverviewRow]) -> str:
    names = ("Prompt", "Best score", "Passed", "Pictures", "Steps", "VLM calls", "Still wrong")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in rows)
    return (
        '<section class="scroll" tabindex="0" aria-label="All prompts">'
        f'<table class="wide"><tr>{head}</tr>{body}</table></section>'
    )


def _cells(row: OverviewRow) -> Iterable[str]:
    best, cost = row.best, row.cost
    passed = {True: "✓", False: "no", None: ""}[best.passed if best else None]
    wrong = (best.failure or "; ".join(best.unmet)) if best else ""
    score = score_text(best.score) if best else ""
    yield f"<td>{_linked(row, escape(row.prompt))}</td>"
    for text in (score, passed, cost.images, cost.steps, cost.vlm_calls, wrong):
        yield f"<td>{escape(f'{text:,}' if isinstance(text, int) else text)}</td>"


def _cards(rows: Iterable[OverviewRow]) -> str:
    return "\n".join(
        f"<article>{_linked(row, _picture(row))}<p>{escape(row.prompt)}</p>"
        f'<p class="score">{escape(_result(row))}</p></article>'
        for row in rows
        if row.best
    )


def _picture(row: OverviewRow) -> str:
    pixels = ' class="pixels"' if row.pixels else ""
    source = f"{quote(row.folder)}/best.png"
    return f'<img{pixels} loading="lazy" alt="{escape(row.prompt)}" src="{source}">'


def _linked(row: OverviewRow, html: str) -> str:
    return f'<a href="{quote(row.folder)}/report.html">{html}</a>' if row.best else html


def _result(row: OverviewRow) -> str:
    return verdict_text(row.best) if row.best else "nothing painted"
