"""What a run shows while it paints: bars on a terminal, a plain line a picture elsewhere."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

from PIL.Image import Image

from ..phases import doing
from ..protocols import Silent
from ..record import Candidate, History


def quieten_libraries(downloads: bool = False) -> None:
    """Silences libraries whose messages would break up our own; keeps the bars of `downloads`."""
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    if not downloads:
        quiet |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    warnings.formatwarning = lambda message, *_place, **_line: f"{message}\n"


NOTHING_YET = History()


class Lines(Silent):
    """A Progress that shows only what is said."""

    def say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


class Screen:
    """A Progress on stderr, with `total` as the expected number of pictures.

    `painted` shows a new picture of one search, `advance` one of many searches.
    """

    def __init__(self, total: int, history: History = NOTHING_YET) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.total = total
        self.console = Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
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
        if self.console.is_terminal:
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

    def say(self, text: str) -> None:
        """Prints lines that stay, above the bars."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Without bars, which would be drawn over what somebody types."""
        if self.console.is_terminal:
            self.bars.stop()
        yield
        if self.console.is_terminal:
            self.bars.start()

    def painted(self, history: History) -> None:
        latest = [*history][-1]
        fate = "" if latest.finished else "dropped, "
        line = f"{fate}{short_score(latest)}, {best_so_far(history)}"
        self.advance(len(history), best_so_far(history), line)

    def advance(self, done: int, note: str, line: str) -> None:
        """Shows that `done` pictures are finished: `note` beside a bar, or `line` in a log."""
        self.total = max(self.total, done)  # a strategy may paint more than the paper's schedule
        self.bars.update(self._pictures, completed=done, total=self.total, note=note)
        if not self.console.is_terminal:
            text = f"picture {done} of {self.total}: {line}"
            self.say(text)


def best_so_far(history: History) -> str:
    if not len(history):
        return ""
    score = history.best.score
    return "none judged yet" if score is None else f"best {score:.3g}"


def short_score(candidate: Candidate) -> str:
    """ "score 0.75", or why there is none."""
    verdict = candidate.verdict
    return (
        f"not judged ({verdict.failure})" if verdict.score is None else f"score {verdict.score:.3g}"
    )
