"""The results of a benchmark on disk and as text, for GenEval and GenEval 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..evaluation.journal import Journal
from ..evaluation.page import Section
from ..evaluation.publishing import Origin, publish
from ..evaluation.tables import Table
from .painting import painted_by


@dataclass(frozen=True)
class BenchmarkResults:
    """The results of a benchmark; `about` is a sentence on what they cover."""

    title: str
    label: str
    about: str
    tables: Sequence[Table]
    lines: Sequence[Mapping[str, Any]]  # lines of the journal in the order of the pictures
    cost: Mapping[str, Any]
    summary: Mapping[str, Any] = field(default_factory=dict)  # further fields of the file's summary


def publish_benchmark(
    results: BenchmarkResults, journal: Journal, images: Path, command: str
) -> str:
    """Writes the journal's file and page; returns the results as Markdown."""
    painted = painted_by(images)
    tables = [*results.tables, *painted.tables]
    data = [table.data() for table in tables]
    summary = {"label": results.label, **results.summary, "tables": data}
    return publish(
        journal,
        results.title,
        ["Intervals: a bootstrap over prompts, 95 %."],
        [Section(results.label, results.about, tables)],
        Origin(command, painted.seed, results.cost, {"painting": painted.cost}),
        {"summary": summary, "pictures": results.lines},
    )
