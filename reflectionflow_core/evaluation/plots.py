"""Plots of tables of shares, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from ..record import InputError
from .tables import Table

DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 4)))
THIN, WIDER, MOST_INSIDE = 1.6, 2.6, 4  # points of a line, and extra width per line drawn inside it
NEAR = 0.006  # difference in share below which lines overlap
MAX_BANDS = 4  # with more lines, intervals would hide each other
COLOURS = (
    *("#777d86", "#3a5f95", "#c58a1b", "#b0452c", "#2f7d4f"),
    *("#6d4c8f", "#22262b", "#1b8a8a", "#d46fa0", "#8fb03a"),
)


def scaling_curve(table: Table, title: str) -> bytes:
    """One line per row over the budgets (logarithmic axis), with intervals if there are few rows.

    Overlapping lines are drawn inside each other, the first one widest.
    """
    few = len(table.rows) <= MAX_BANDS
    figure, axes = _figure(7.2 if few else 9.6, title)
    widths = line_widths([[cell and cell.mean for cell in cells] for _, cells in table.rows])
    styles = line_styles([name for name, _ in table.rows])
    for (colour, dashes), width, (name, cells) in zip(styles, widths, table.rows, strict=True):
        known = [(b, cell) for b, cell in zip(table.budgets, cells, strict=True) if cell]
        x, means = [budget for budget, _ in known], [cell.mean for _, cell in known]
        look = {"color": colour, "ls": dashes, "lw": width, "ms": width + 2.4}
        axes.plot(x, means, marker="o", label=name, **look)
        if few:
            low, high = [cell.low for _, cell in known], [cell.high for _, cell in known]
            axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(table.budgets), [f"{budget:g}" for budget in table.budgets])
    axes.set_xlabel(table.unit)
    position = {} if few else {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    axes.legend(frameon=False, fontsize=8, handlelength=3.5, **position)
    return _png(figure)


def line_styles(names: Sequence[str]) -> list[tuple[str, Any]]:
    """The colour and the dashes of each line.

    The part of a name before the first comma decides its colour, the rest its dashes.
    """
    parts = [name.partition(", ")[::2] for name in names]
    colours = _each(sorted(head for head, _ in parts), COLOURS)
    dashes = _each([tail for _, tail in parts], DASHES)
    return [(colours[head], dashes[tail]) for head, tail in parts]


def line_widths(lines: Sequence[Sequence[float | None]]) -> list[float]:
    """The width in points of each line; overlapped lines are wider.

    Lines overlap if more than half of their points are NEAR each other.
    """
    over = [sum(_meet(line, other) for other in lines[i + 1 :]) for i, line in enumerate(lines)]
    return [THIN + WIDER * min(count, MOST_INSIDE) for count in over]


def _meet(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    near = [
        a is not None and b is not None and abs(a - b) < NEAR
        for a, b in zip(one, other, strict=True)
    ]
    return sum(near) > len(near) / 2


def bar_chart(table: Table, title: str) -> bytes:
    """One group of bars per row and one bar per column, with intervals."""
    figure, axes = _figure(7.2, title)
    width = 0.8 / len(table.columns)
    for number, column in enumerate(table.columns):
        at = {i: cells[number] for i, (_, cells) in enumerate(table.rows)}
        known = [(i + (number + 0.5) * width - 0.4, cell) for i, cell in at.items() if cell]
        means = [cell.mean for _, cell in known]
        reach = [[c.mean - c.low for _, c in known], [c.high - c.mean for _, c in known]]
        x, colour = [position for position, _ in known], COLOURS[number % len(COLOURS)]
        axes.bar(x, means, width * 0.92, color=colour, label=column)
        axes.errorbar(x, means, reach, fmt="none", ecolor="#22262b", lw=1)
    axes.set_xticks(range(len(table.rows)), [name for name, _ in table.rows])
    axes.grid(visible=False, axis="x")
    axes.set_axisbelow(True)
    if len(table.columns) > 1:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return _png(figure)


def _figure(width: float, title: str) -> tuple[Any, Any]:
    """A figure for shares of prompts, and its axes."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "Plots need matplotlib. Install it with: pip install matplotlib"
        ) from error
    figure = Figure(figsize=(width, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_ylabel("prompts whose best picture is right")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(color="#dcd8d0", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _each(names: Sequence[str], styles: Sequence[Any]) -> dict[str, Any]:
    """A style for every distinct name, in the given order; styles repeat if there are too few."""
    return dict(zip(dict.fromkeys(names), cycle(styles), strict=False))
