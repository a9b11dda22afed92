"""The log of a training: a line of JSON for every record, other logs by setting, and progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from reflectionflow_core.archive.files import append, make_folder, replace_file
from reflectionflow_core.report.words import duration
from train.processes import join
from train.reports import Report

LINE_EVERY = 30  # seconds between two lines where there is no terminal


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step that was made; `step` counts from 1."""

    step: int
    loss: float  # of this process
    gradient: float  # its length before it was clipped
    rate: float  # of the optimiser; with Prodigy the one that it found
    seconds: float
    saved: bool  # whether a checkpoint holds it


class Log:
    """A line of JSON for every record, which the reports get too; lines after the step that a run
    resumes from are dropped.
    """

    def __init__(self, path: Path, step: int, reports: Sequence[Report] = ()) -> None:
        self.path = path if join().is_main_process else None
        self.reports = reports
        if self.path:
            make_folder(path.parent)
            lines = path.read_text().splitlines() if path.exists() else []
            whole = [
                line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step
            ]
            replace_file(path, "".join(f"{line}\n" for line in whole).encode())

    def write(self, done: StepDone, **more: Any) -> None:
        figures = {name: value for name, value in asdict(done).items() if name != "saved"}
        self.note(**figures, **more)

    def note(self, step: int, **figures: Any) -> None:
        if self.path:
            append(self.path, json.dumps({"step": step, **figures}).encode() + b"\n")
            for report in self.reports:
                report(step, dict(numbers(figures)))


def numbers(figures: dict[str, Any], group: str = "") -> Iterator[tuple[str, float]]:
    """The numbers among figures in groups, by their full names."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{group}{name}/")
        elif isinstance(value, (int, float)):
            yield f"{group}{name}", float(value)


def watched(name: str, done: Iterable[StepDone], start: int, total: int) -> Iterator[StepDone]:
    """The same steps, with their progress shown."""
    with progress(name, start, total) as show:
        for step in done:
            yield step
            show(step.step, step.loss)


@contextmanager
def progress(name: str, start: int, total: int) -> Iterator[Callable[[int, float], None]]:
    """To be called with each step and its loss: moves a bar on a terminal, and elsewhere, as in a
    log file, writes a line now and then. Both say how long it will take.
    """
    console = Console()
    if not console.is_terminal:
        yield _Lines(name, start, total) if join().is_main_process else _silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}{task.fields[loss]}"),
    )
    shown = join().is_main_process
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not shown) as bar:
        task = bar.add_task(name, total=total, completed=start, loss="")
        yield lambda step, loss: bar.update(task, completed=step, loss=f" loss {loss:.4f}")


class _Lines:
    """A line for the first step, the last one, and every LINE_EVERY seconds."""

    def __init__(self, name: str, start: int, total: int) -> None:
        self.name, self.start, self.total = name, start, total
        self.began, self.last = time.monotonic(), -float("inf")

    def __call__(self, step: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.last < LINE_EVERY and step < self.total:
            return
        self.last = now
        a_step = (now - self.began) / max(1, step - self.start)
        left = f", {duration(a_step * (self.total - step))} left" if step < self.total else ""
        sys.stderr.write(
            f"{self.name}: step {step:,} of {self.total:,}, loss {loss:.4f}, "
            f"{a_step:.2f} s a step{left}\n"
        )
        sys.stderr.flush()


def _silent(step: int, loss: float) -> None:
    """Of all processes only the first one reports."""
