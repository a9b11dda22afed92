"""The log of a training: a line of JSON for every record, and a progress bar."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from reflectionflow_core.archive.files import append, make_folder, replace_file
from train.processes import join


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
    """A line of JSON for every record; lines after the step that a run resumes from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path if join().is_main_process else None
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


def watched(name: str, done: Iterable[StepDone], start: int, total: int) -> Iterator[StepDone]:
    """The same steps under a progress bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}{task.fields[loss]}"),
    )
    shown = join().is_main_process
    with Progress(*columns, TimeRemainingColumn(), disable=not shown) as progress:
        task = progress.add_task(name, total=total, completed=start, loss="")
        for step in done:
            yield step
            progress.update(task, completed=step.step, loss=f" loss {step.loss:.4f}")
