"""What earlier runs with the same models and judge tell about time and pass rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..record import InputError
from . import HISTORY, RUN
from .lines import parse
from .run_file import Run, load_run, plain
from .timing import TIMING, read_timing

MOST_RUNS = 100  # newest runs that are read
FEW = 8  # pictures that a pass rate needs


@dataclass(frozen=True, slots=True)
class Experience:
    """`passed` of `pictures` passed and took `seconds` in total; 0 without earlier runs."""

    pictures: int = 0
    passed: int = 0
    seconds: float = 0.0

    @property
    def pass_rate(self) -> float | None:
        return self.passed / self.pictures if self.pictures >= FEW else None

    @property
    def seconds_each(self) -> float | None:
        return self.seconds / self.pictures if self.pictures and self.seconds else None


def experience(folder: Path, run: Run) -> Experience:
    """The experience of the runs in `folder`, one subfolder each, with the actors and weights of
    `run`.

    Unreadable runs are skipped.
    """
    pictures, passed, seconds = 0, 0, 0.0
    wanted = plain(run.actors), dict(run.identity)
    newest = sorted(folder.glob(f"*/{RUN}"), key=_changed, reverse=True)
    for other in newest[:MOST_RUNS]:
        try:
            known = load_run(other)
            if (known.actors, known.identity) != wanted:
                continue
            lines = other.with_name(HISTORY).read_bytes().split(b"\n")[:-1]
            entries = (parse(line, known.settings.mask) for line in lines)
            finished = [entry for entry in entries if entry.finished]
            timing, _, _ = read_timing(other.with_name(TIMING))
        except (InputError, OSError, ValueError):
            continue
        if not timing.seconds:  # the file is lost or damaged
            continue
        pictures += len(finished)
        seconds += timing.total_seconds
        passed += sum(entry.verdict.passed is True for entry in finished)
    return Experience(pictures, passed, seconds)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it is gone by now
        return 0.0
