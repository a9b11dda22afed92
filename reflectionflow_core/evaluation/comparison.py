"""Whether one evaluation is better than another, prompt by prompt.

Compares what both finished files measured: an arm of the shapes world at the largest common budget,
or the rows of another benchmark. Results of equal prompts form pairs.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..record import InputError
from ..report.words import counted
from ..texts import parse_json, reason_of
from .statistics import LEVEL, WORTHWHILE, Gain, gain, holm
from .trial import Outcome, read_outcome

FORMATS = (1, 2)
GZIP = b"\x1f\x8b"  # a compressed file's first bytes
# Raised when fields of a record are missing or invalid.
WRONG = (KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError)
NO_OTHERS: Mapping[str, Any] = MappingProxyType({})
LETTERS = {"images": "N", "steps": "S"}  # of budgets, by their unit
Limit = tuple[str, int]  # a unit of LETTERS, and a budget in it


@dataclass(frozen=True)
class Measured:
    """The results in a file: for each row, one number per prompt (n,).

    `tasks` are the prompts' kinds; a row in `by_task` is the mean of their means.
    """

    benchmark: str
    prompts: Sequence[str]
    tasks: np.ndarray
    rows: Mapping[str, np.ndarray]
    by_task: frozenset[str] = frozenset()
    judge: Any = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much better B is than A in one row; `p` is Holm-corrected over all rows."""

    row: str
    gain: Gain
    p: float

    def __str__(self) -> str:
        found = self.gain.estimate
        interval = f"[{found.low:.3f}, {found.high:.3f}]"
        if self.p < 1 - LEVEL:
            better = "B" if found.mean > 0 else "A"
            turned = f"[{-found.high:.3f}, {-found.low:.3f}]" if better == "A" else interval
            return f"{self.row}: {better} is better by {abs(found.mean):.3f} {turned}, {self._p}."
        if not self.gain.differing:
            return f"{self.row}: none of {self.gain.prompts} pairs differs."
        more = f"; detecting {WORTHWHILE:g} needs about {self.gain.needed:,} prompts"
        return (
            f"{self.row}: no significant difference, B minus A is {found.mean:+.3f} {interval} "
            f"over {counted(self.gain.prompts, 'prompt')}, {self._p}{more}."
        )

    @property
    def _p(self) -> str:
        return "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"


Reader = Callable[[Mapping[str, Any]], Measured]


def compare(
    a: Path, b: Path, budget: int | None = None, readers: Mapping[str, Reader] = NO_OTHERS
) -> tuple[list[Comparison], list[str]]:
    """The comparisons of all common rows, and notes for the reader.

    `readers` read the other benchmarks, by name. InputError if the pairs would be meaningless.
    """
    readers = {"shapes": _shapes, **readers}
    records = read_evaluation(a), read_evaluation(b)
    ours, theirs = (
        _measured(record, file, readers) for record, file in zip(records, (a, b), strict=True)
    )
    try:
        _check(ours, theirs)
        return _compared(records, ours, theirs, budget)
    except InputError:
        raise
    except WRONG as error:
        raise InputError(
            f"{a} and {b} are not both complete evaluations ({reason_of(error)}). "
            "Give the --out files of finished ones."
        ) from error


def _compared(
    records: Sequence[Mapping[str, Any]], ours: Measured, theirs: Measured, budget: int | None
) -> tuple[list[Comparison], list[str]]:
    if ours.benchmark == "shapes":
        ours, theirs = (_shapes(record, _budgets(records, budget)) for record in records)
    common = [row for row in ours.rows if row in theirs.rows]
    gains = [_gain(ours, theirs, row) for row in common]
    p_values = holm([found.p for found in gains])
    found = [Comparison(*it) for it in zip(common, gains, p_values, strict=True)]
    return found, list(_notes(ours, theirs, records))


def read_evaluation(file: Path) -> dict[str, Any]:
    """Reads a finished evaluation, possibly compressed with gzip."""
    if not file.is_file():
        raise InputError(
            f"File {file} does not exist. Give the --out file of a finished evaluation."
        )
    if file.suffix == ".part":
        raise InputError(f"{file} is not finished. Repeat the command that made it.")
    try:
        data = file.read_bytes()
        record = parse_json(gzip.decompress(data) if data.startswith(GZIP) else data)
        known = record["format"] in FORMATS
    except (OSError, EOFError, zlib.error, *WRONG) as error:
        raise InputError(
            f"{file} is not an evaluation ({reason_of(error)}). Give the --out file of "
            "a finished one."
        ) from error
    if not known:
        raise InputError(
            f"{file} has format {record['format']}, which this version cannot read. Evaluate "
            "again, or use the version that wrote it."
        )
    return record


def _measured(record: Mapping[str, Any], file: Path, readers: Mapping[str, Reader]) -> Measured:
    benchmark = record.get("benchmark", "shapes")  # the only benchmark of format 1
    if not isinstance(benchmark, str) or benchmark not in readers:
        raise InputError(
            f"{file} is of an unknown benchmark {benchmark!r}. Give one of {', '.join(readers)}."
        )
    try:
        return readers[benchmark](record)
    except WRONG as error:
        raise InputError(
            f"{file} is not a complete evaluation ({reason_of(error)}). Give the "
            "--out file of a finished one."
        ) from error


def _shapes(record: Mapping[str, Any], budgets: Mapping[str, Limit] | None = None) -> Measured:
    """Rows: the arms at `budgets`, by default at their largest."""
    prompts, arms = record["questions"], _limits(record)
    budgets = arms if budgets is None else budgets
    outcomes: dict[str, dict[int, Outcome]] = {name: {} for name in arms}
    for outcome in map(read_outcome, record["outcomes"]):
        outcomes[outcome.arm][outcome.index] = outcome
    rows = {
        f"{name}, {LETTERS[unit]} = {budget}": np.array(
            [float(outcomes[name][i].success(budget, unit)) for i in range(len(prompts))]
        )
        for name, (unit, budget) in budgets.items()
    }
    return Measured(
        "shapes",
        [prompt["prompt"] for prompt in prompts],
        np.zeros(len(prompts)),
        rows,
        judge="exact",
        seed=record["seed"],
    )


def _budgets(records: Sequence[Mapping[str, Any]], budget: int | None) -> dict[str, Limit]:
    """For each common arm, the largest common budget, or `budget` pictures if both reach it."""
    ours, theirs = map(_limits, records)
    common = {
        name: (unit, min(most, theirs[name][1]))
        for name, (unit, most) in ours.items()
        if name in theirs and theirs[name][0] == unit
    }
    if not common:
        raise InputError(
            f"The files have no arm in common: {', '.join(ours)}; {', '.join(theirs)}. "
            "Give evaluations of the same arms."
        )
    if budget is None:
        return common
    pictures = {name: most for name, (unit, most) in common.items() if unit == "images"}
    if not pictures:
        raise InputError("The common arms count diffusion steps, not pictures. Remove --budget.")
    if budget > max(pictures.values()):
        raise InputError(
            f"Both painted at most {max(pictures.values())} pictures in a common arm. "
            "Give a --budget of no more."
        )
    return {name: ("images", budget) for name, most in pictures.items() if budget <= most}


def _limits(record: Mapping[str, Any]) -> dict[str, Limit]:
    """The largest budget of each arm: its diffusion steps if these are limited, else pictures."""
    settings = {arm["name"]: arm["settings"] for arm in record["arms"]}
    return {
        name: ("steps", its["budget"]["steps"])
        if its["budget"].get("steps")
        else ("images", _pictures(its))
        for name, its in settings.items()
    }


def _pictures(settings: Mapping[str, Any]) -> int:
    """The largest number of pictures that a search paints."""
    width, drafts = settings["width"], settings["drafts"]
    most = (width if drafts is None else drafts) + width * settings["depth"]
    return min(most, settings["budget"]["images"] or most)


def _check(ours: Measured, theirs: Measured) -> None:
    if ours.benchmark != theirs.benchmark:
        raise InputError(
            f"One file is of {ours.benchmark}, the other of {theirs.benchmark}. Compare files of "
            "one benchmark."
        )
    if list(ours.prompts) != list(theirs.prompts):
        counts = Counter(ours.prompts)
        counts.subtract(theirs.prompts)
        unmatched = sum(map(abs, counts.values()))
        how = f"{unmatched} are in one only" if unmatched else "their order differs"
        raise InputError(
            f"The files have different prompts ({how}), so there are no pairs. "
            "Evaluate both with the same prompts and the same --seed."
        )
    if ours.judge != theirs.judge:
        raise InputError(
            "The files have different judges, which could cause a difference. Judge both with "
            "the same weights."
        )


def _gain(ours: Measured, theirs: Measured, row: str) -> Gain:
    gained = theirs.rows[row] - ours.rows[row]
    measured = ~np.isnan(gained)
    if not measured.any() or not np.isfinite(gained[measured]).all():
        raise ValueError(f"{row} has no numbers to compare")
    tasks = ours.tasks if row in ours.by_task else np.zeros(len(gained))
    return gain(gained[measured], tasks[measured])


def _notes(ours: Measured, theirs: Measured, records: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    notes = []
    if None in (ours.seed, theirs.seed) or ours.seed != theirs.seed:
        notes.append("The seeds differ or are unknown: pairs share their prompt, not their noise.")
    versions = [record["about"].get("versions") for record in records]
    if versions[0] != versions[1]:
        notes.append("The versions of the libraries differ.")
    return notes
