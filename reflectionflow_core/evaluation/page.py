"""Results as one HTML page: notes, tables and plots."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .tables import Table

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf8;--ink:#22262b;--muted:#62686f;--line:#dcd8d0}
@media screen and (prefers-color-scheme:dark){
:root{--paper:#17191c;--ink:#e6e4e0;--muted:#a3a9b1;--line:#33373d}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:960px;
margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:1.5rem 0}
.scroll:focus-visible{outline:3px solid #34588c}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;overflow-wrap:normal}
td,th{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;
font-size:.9rem;vertical-align:top}
tr>:first-child{position:sticky;left:0;background:var(--paper);min-width:8rem}
.interval{color:var(--muted);font-size:.8rem;display:block;font-weight:400;white-space:nowrap}
img{display:block;max-width:100%;min-width:min(36rem,100%);border-radius:4px}
@media screen and (max-width:640px){img{max-width:none;width:36rem}}
@media print{.scroll{overflow:visible}table{font-size:80%}}
"""


@dataclass(frozen=True, slots=True)
class Section:
    """The results of one study or benchmark."""

    title: str
    about: str  # one sentence
    tables: Sequence[Table]
    plot: bytes | None = None


def results_page(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """A self-contained page with embedded plots; `notes` are sentences about the figures."""
    paragraphs = "\n".join(f"<p>{escape(note)}</p>" for note in notes)
    body = "\n".join(map(_section, sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n"
        f"{paragraphs}\n{body}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    encoded = base64.b64encode(section.plot or b"").decode()
    source = f"data:image/png;base64,{encoded}"
    plot = f'<img alt="The first table as a plot" src="{source}">'
    image = _scrolling("Plot", plot) if section.plot else ""
    return (
        f"<h2>{escape(section.title)}</h2>\n<p>{escape(section.about)}</p>\n{image}\n"
        + "\n".join(map(_table, section.tables))
    )


def _table(table: Table) -> str:
    names = (table.title, *table.columns)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, cells))}</tr>'
        for name, cells in table.rows
    )
    return _scrolling(table.title, f"<table><tr>{head}</tr>{rows}</table>")


def _scrolling(label: str, content: str) -> str:
    """Wide content that scrolls on small screens, also by keyboard."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f"{content}</div>"
    )


def _cell(cell: Any) -> str:
    if cell is None:
        return "<td></td>"
    interval = f"{cell.low:.3f} to {cell.high:.3f}"
    return f'<td>{cell.mean:.3f} <span class="interval">{interval}</span></td>'
