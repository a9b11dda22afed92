"""The log of a training: a JSON line per record, and other logs if configured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reflectionflow_core.archive.files import append, make_folder, replace_file
from train.processes import join
from train.progress import progress
from train.reports import Report

DRY_RUN = "dry-run"  # its folder, whose name its progress shows


@dataclass(frozen=True, slots=True)
class StepDone:
    """A finished step; `step` counts from 1."""

    step: int
    loss: float  # mean of this process
    gradient: float  # norm before clipping
    rate: float  # learning rate; for Prodigy its estimate
    seconds: float
    saved: bool  # whether a checkpoint was written


class Log:
    """Writes each record as a JSON line and to the configured reports.

    On resuming at `step`, lines of later steps are removed.
    """

    def __init__(self, path: Path, step: int, reports: Sequence[Report] = ()) -> None:
        self.path = path if join().is_main_process else None
        self.reports = reports
        if self.path:
            make_folder(path.parent)
            kept = [json.dumps(record) for record in records(path) if record["step"] <= step]
            replace_file(path, "".join(f"{line}\n" for line in kept).encode())

    def write(self, done: StepDone, **more: Any) -> None:
        figures = {name: value for name, value in asdict(done).items() if name != "saved"}
        self.note(**figures, **more)

    def note(self, step: int, **figures: Any) -> None:
        if self.path:
            append(self.path, json.dumps({"step": step, **figures}).encode() + b"\n")
            for report in self.reports:
                report(step, dict(numbers(figures)))


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log; empty without a file. An incomplete last line is ignored."""
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and "step" in record:
                yield record


def numbers(figures: dict[str, Any], group: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in nested figures, by their full names."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{group}{name}/")
        elif isinstance(value, (int, float)):
            yield f"{group}{name}", float(value)


def all_done(steps: int) -> str:
    """What is said of a finished training that is started again."""
    return f"All {steps:,} steps were done before, so nothing is trained.\n"


def watched(name: str, done: Iterable[StepDone], start: int, total: int) -> Iterator[StepDone]:
    """The same steps, with a progress display."""
    with progress(name, start, total, shown=join().is_main_process) as show:
        for step in done:
            yield step
            show(step.step, f"loss {step.loss:.4f}")
