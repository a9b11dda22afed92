"""How far a program is and how long it will take: a bar on a terminal, a line now and then in a
log file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from reflectionflow_core.report.words import duration

LINE_EVERY = 30  # seconds between two lines where there is no terminal
Show = Callable[..., None]  # is given how many are done and, where there is one, a remark


@contextmanager
def progress(
    name: str, start: int, total: int, unit: str = "step", shown: bool = True
) -> Iterator[Show]:
    """To be called with the number of what is done, of `total`; `start` were done before. Several
    processes show one alone (`shown`).
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
    """A line before the first one, for it, for the last one, and every LINE_EVERY seconds.

    Time is counted from the first one on, which takes longer: models are loaded before it.
    """

    def __init__(self, name: str, start: int, total: int, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.first: tuple[float, int] | None = None  # when, and how many were done then
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
    """Of several processes only the first one shows it."""
