"""A study as one HTML page: what was asked, its tables and its plot."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .tables import Table

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#22262b;background:#fbfaf8;max-width:960px;
margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1.5rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.3rem .8rem .3rem 0;border-bottom:1px solid #dcd8d0;text-align:left;font-size:.9rem}
.interval{color:#777d86;font-size:.8rem}
img{max-width:100%}
"""


def study_page(
    title: str, about: Mapping[str, Any], tables: Sequence[Table], plot: bytes | None
) -> str:
    """A page that opens anywhere: the plot is inside it, nothing is fetched."""
    facts = "; ".join(f"{name} {value}" for name, value in about.items())
    drawn = base64.b64encode(plot).decode() if plot else ""
    image = f'<img alt="Scaling curves" src="data:image/png;base64,{drawn}">' if plot else ""
    body = "\n".join(map(_table, tables))
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"<p>Means over prompts with 95 % intervals (bootstrap over prompts). {escape(facts)}</p>\n"
        "<p>These figures are about the miniature. They say nothing about FLUX.1-dev.</p>\n"
        f"{image}\n{body}\n</body>\n</html>\n"
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
