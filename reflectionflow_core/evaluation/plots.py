"""Scaling curves as a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ..record import InputError
from .tables import Table

COLOURS = ("#777d86", "#3a5f95", "#c58a1b", "#b0452c", "#2f7d4f", "#6d4c8f", "#22262b", "#1b8a8a")


def scaling_curve(table: Table, budgets: Sequence[int], title: str) -> bytes:
    """A line a row over budgets on a logarithmic axis, with its interval as a band."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "Plots need matplotlib. Install it with: pip install 'reflectionflow[evaluate]'"
        ) from error
    figure = Figure(figsize=(7.2, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    for colour, (name, cells) in zip(COLOURS * len(table.rows), table.rows, strict=False):
        known = [(b, cell) for b, cell in zip(budgets, cells, strict=True) if cell]
        x = [budget for budget, _ in known]
        axes.plot(x, [cell.mean for _, cell in known], "o-", color=colour, label=name, lw=1.6, ms=4)
        low, high = [cell.low for _, cell in known], [cell.high for _, cell in known]
        axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(budgets), [str(budget) for budget in budgets])
    axes.set_xlabel("pictures painted for a prompt")
    axes.set_ylabel("prompts whose best picture is right")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(color="#dcd8d0", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
