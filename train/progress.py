"""Progress and remaining time: a bar on a terminal, occasional lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from reflectionflow_core.report.words import duration

LINE_EVERY = 30  # seconds between two lines without a terminal
Show = Callable[..., None]  # called with the number done and an optional remark


@contextmanager
def progress(
    name: str, start: int, total: int, unit: str = "step", shown: bool = True
) -> Iterator[Show]:
    """A function to call with the number of units done, out of `total`.

    `start` of them were done before. Of several processes only one (`shown`) displays it.
    """
    console = Console(stderr=True)
    if not shown:
        yield _silent
    elif not console.is_terminal:
        yield _Lines(name, start, total, unit)
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(f"{{task.completed}}/{{task.total}} {unit}s{{task.fields[remark]}}"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(name, total=total, completed=start, remark="")
            yield lambda done, remark="": bar.update(
                task, completed=done, remark=f" {remark}" if remark else ""
            )


class _Lines:
    """Prints a line at the start, after the first unit, at the end, and every LINE_EVERY seconds.

    Time is measured from the first unit on, which takes longer because models are loaded.
    """

    def __init__(self, name: str, start: int, total: int, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.first: tuple[float, int] | None = None  # time, and units done by then
        self.last = -float("inf")
        if start < total:
            self._say(f"{total - start:,} of {total:,} {unit}s to do")

    def __call__(self, done: int, remark: str = "") -> None:
        now = time.monotonic()
        if now - self.last < LINE_EVERY and done < self.total:
            return
        self.last = now
        began, before = self.first = self.first or (now, done)
        parts = [f"{self.unit} {done:,} of {self.total:,}", remark]
        if done > before:
            each = (now - began) / (done - before)
            parts.append(f"{each:.2f} s a {self.unit}")
            if done < self.total:
                parts.append(f"{duration(each * (self.total - done))} left")
        self._say(", ".join(filter(None, parts)))

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self.name}: {text}\n")
        sys.stderr.flush()


def _silent(done: int, remark: str = "") -> None:
    """For processes that display nothing."""
