"""What earlier runs with the same models and the same judge have found, without their pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..record import InputError
from ..texts import parse_json
from . import HISTORY, RUN, TIMING
from .lines import Entry, parse
from .run_file import Run, load_run

MOST_RUNS = 100  # that are looked at, the newest
FEW = 8  # pictures; a rate of fewer is not told


@dataclass(frozen=True, slots=True)
class Experience:
    """Of `pictures` that were painted to their end, `passed` passed; all took `seconds`.

    It is 0 of 0 where there are no earlier runs.
    """

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
    """What the runs in `folder` tell that have the actors and weights of `run`, one folder each.

    Runs that cannot be read are left out: they are another command's business.
    """
    pictures, passed, seconds = 0, 0, 0.0
    newest = sorted(folder.glob(f"*/{RUN}"), key=_changed, reverse=True)
    for other in newest[:MOST_RUNS]:
        try:
            known = load_run(other)
            if (known.actors, known.identity) != (dict(run.actors), dict(run.identity)):
                continue
            finished = [entry for entry in _entries(other.with_name(HISTORY)) if entry.finished]
            timing = parse_json(other.with_name(TIMING).read_bytes())
            seconds += sum(float(spent) for spent in timing["seconds"].values())
        except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        pictures += len(finished)
        passed += sum(entry.verdict.passed is True for entry in finished)
    return Experience(pictures, passed, seconds)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it is gone by now
        return 0.0


def _entries(path: Path) -> Iterator[Entry]:
    *lines, _ = path.read_bytes().split(b"\n")
    yield from map(parse, lines)
