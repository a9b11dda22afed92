"""Results as one HTML page: notes, tables and plots."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .tables import Table

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#22262b;background:#fbfaf8;max-width:960px;
margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1.5rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.3rem .8rem .3rem 0;border-bottom:1px solid #dcd8d0;text-align:left;font-size:.9rem}
.interval{color:#777d86;font-size:.8rem;display:block;font-weight:400}
img{max-width:100%}
"""


@dataclass(frozen=True, slots=True)
class Section:
    """The results of one study or benchmark."""

    title: str
    about: str  # a sentence
    tables: Sequence[Table]
    plot: bytes | None = None


def results_page(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """A self-contained page: the plots are embedded. `notes` are sentences about the figures."""
    paragraphs = "\n".join(f"<p>{escape(note)}</p>" for note in notes)
    body = "\n".join(map(_section, sections))
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"{paragraphs}\n{body}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    encoded = base64.b64encode(section.plot or b"").decode()
    source = f"data:image/png;base64,{encoded}"
    image = f'<img alt="The first table as a plot" src="{source}">' if section.plot else ""
    return (
        f"<h2>{escape(section.title)}</h2>\n<p>{escape(section.about)}</p>\n{image}\n"
        + "\n".join(map(_table, section.tables))
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in (table.title, *table.columns))
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(map(_cell, cells))}</tr>"
        for name, cells in table.rows
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _cell(cell: Any) -> str:
    if cell is None:
        return "<td></td>"
    interval = f"{cell.low:.3f} to {cell.high:.3f}"
    return f'<td>{cell.mean:.3f} <span class="interval">{interval}</span></td>'
