"""What a run shows while it paints: progress bars on a terminal, otherwise one line per picture."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic
from types import TracebackType

from PIL.Image import Image

from ..phases import doing
from ..protocols import Silent
from ..record import Candidate, History
from ..report.words import duration
from ..settings import Budget
from ..texts import printable
from ..verdict import NOT_LOOKED_AT


def quieten_libraries(downloads: bool = False) -> None:
    """Silences messages of libraries; keeps the progress bars of `downloads`."""
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    if not downloads:
        quiet |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    warnings.formatwarning = lambda message, *_place, **_line: f"{message}\n"


DUMB = ("dumb", "unknown")  # terminals without bars, such as Emacs' shell
NOTHING_YET, NO_LIMITS = History(), Budget()


class Lines(Silent):
    """A Progress that only shows messages."""

    def say(self, text: str) -> None:
        sys.stderr.write(f"{printable(text)}\n")


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Says what is being loaded, with a bar and the seconds on a terminal."""
    text = f"Loading {model}"
    if not sys.stderr.isatty() or os.environ.get("TERM") in DUMB:
        sys.stderr.write(f"{text}.\n")
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False, emoji=False)
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(text, total=None)
        yield


class Screen:
    """A Progress on stderr, with `total` as the expected number of pictures.

    `painted` shows a new picture of one search and how much of the `budget` is spent; `advance`
    shows one of many searches.
    """

    def __init__(
        self, total: int, history: History = NOTHING_YET, budget: Budget = NO_LIMITS
    ) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.total, self.budget = total, budget
        self._began, self._before = monotonic(), len(history)
        self.console = Console(stderr=True, highlight=False, emoji=False)
        self._draws = self.console.is_terminal and not self.console.is_dumb_terminal
        self.bars = Progress(
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            transient=True,
        )
        self._pictures = self.bars.add_task(
            "pictures", total=self.total, completed=len(history), note=best_so_far(history)
        )
        self._phase = self.bars.add_task("loading", total=None, note="")
        self._stack = ExitStack()

    def __enter__(self) -> Screen:
        if self._draws:
            self._stack.enter_context(self.bars)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def report(self, phase: str, done: int, total: int, preview: Image | None = None) -> None:
        del preview  # a terminal shows no pictures
        self.bars.update(self._phase, description=doing(phase), completed=done, total=total)

    def check(self) -> None:
        """Ctrl-C raises by itself."""

    def state(self) -> str:
        """What it shows, as one line: "painting 3 of 12; 5 of 8 pictures, best 0.83"."""
        phase, pictures = (self.bars.tasks[number] for number in (self._phase, self._pictures))
        steps = f" {phase.completed:g} of {phase.total:g}" if phase.total else ""
        count = f"{pictures.completed:g} of {pictures.total:g} pictures"
        known = ", ".join(filter(None, [count, pictures.fields["note"]]))
        return f"{phase.description}{steps}; {known}"

    def say(self, text: str) -> None:
        """Prints lines that stay, above the bars."""
        self.console.print(printable(text), markup=False, soft_wrap=True)

    @contextmanager
    def still(self) -> Iterator[None]:
        """A context without progress bars, which would be drawn over what the user types."""
        if self._draws:
            self.bars.stop()
        yield
        if self._draws:
            self.bars.start()

    def painted(self, history: History) -> None:
        latest = [*history][-1]
        fate = "" if latest.finished else "preview, "
        known = ", ".join(filter(None, [best_so_far(history), spent_text(history, self.budget)]))
        self.advance(len(history), known, f"{fate}{short_score(latest)}, {known}")

    def advance(self, done: int, note: str, line: str) -> None:
        """Shows that `done` pictures are finished: `note` beside a bar, or `line` in a log."""
        self.total = max(self.total, done)  # a strategy may paint more than the paper's schedule
        self.bars.update(self._pictures, completed=done, total=self.total, note=note)
        if not self._draws:
            self.say(f"picture {done} of {self.total}: {line}{self._left(done)}")

    def _left(self, done: int) -> str:
        """The time left, for a log, from the second picture on: the first one also warms up."""
        painted, seconds = done - self._before, monotonic() - self._began
        left = (self.total - done) * seconds / max(1, painted)
        return f", about {duration(left)} left" if painted > 1 and left >= 1 else ""


def spent_text(history: History, budget: Budget) -> str:
    """How much of the limits is spent, such as "24 of 100 steps"; "" without limits."""
    cost = history.cost
    spent = {
        "images": (cost.images, "pictures"),
        "steps": (cost.steps, "steps"),
        "vlm_calls": (cost.vlm_calls, "VLM calls"),
        "seconds": (_shown_seconds(cost.total_seconds, budget.seconds), "seconds"),
    }
    known = [(*used, getattr(budget, name)) for name, used in spent.items()]
    limited = [each for each in known if each[-1] is not None]
    return ", ".join(f"{n:,.10g} of {most:,.10g} {what}" for n, what, most in limited)


def _shown_seconds(spent: float, limit: float | None) -> float:
    """The seconds, rounded to whole ones unless so few are allowed that this would mislead."""
    whole = limit is None or limit >= 10 or spent >= 100
    return round(spent) if whole else float(f"{spent:.3g}")


def best_so_far(history: History) -> str:
    if not len(history):
        return ""
    score = history.best.score
    return "none judged yet" if score is None else f"best {score:.3g}"


def short_score(candidate: Candidate) -> str:
    """ "score 0.75", or why there is none."""
    verdict = candidate.verdict
    if verdict.score is None:
        return f"not judged ({verdict.failure})"
    return NOT_LOOKED_AT.lower() if verdict.left_out else f"score {verdict.score:.3g}"
