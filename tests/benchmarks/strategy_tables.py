"""The tables of docs/strategies.md, of finished evaluations of all strategies.

    python tests/benchmarks/strategy_tables.py docs/miniature/all-seed0.json.gz [ALL-SEED1.json.gz]

prints as Markdown the tables of the first file and, of two files, theirs side by side. The files
are written by `reflectionflow evaluate shapes --study all --out FILE`; the page names its command.
Of an evaluation that is not finished (FILE.part, FILE.part.gz), the prompts that all strategies
have searched are used.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reflectionflow_core.evaluation.evaluation import Evaluation, Results, results_so_far
from reflectionflow_core.evaluation.journal import part_of
from reflectionflow_core.evaluation.prompts import held_out
from reflectionflow_core.evaluation.studies import StudyPlan, study_named
from reflectionflow_core.evaluation.tables import tables_of
from reflectionflow_core.miniature.prompts import FAMILIES

ERRORS = ", 10% error"
STRATEGIES = {
    "`noise`": "noise",
    "`noise+prompt`": "noise+prompt",
    "`reflection`": "reflection",
    "`adaptive`": "adaptive",
    "`potential`": "potential",
    "`paths`": "paths",
    "`staged`": "staged",
    "`staged`, planner `rules-strict`": "staged, thing by thing",
    "`interleaved`": "interleaved",
    "`in-context`": "in-context",
}
STOPPING = ("noise", "reflection", "adaptive", "potential", "scouts")
IN_REGIONS = ("reflection", "adaptive", "scouts")
BY_STEPS = {
    **{f"`{name}`": f"{name}, 30 steps" for name in STOPPING},
    **{f"`{name}`, in regions": f"{name} in regions, 30 steps" for name in IN_REGIONS},
}
WITH_ERRORS = {
    **BY_STEPS,
    **{f"{label}, judges err": arm + ERRORS for label, arm in BY_STEPS.items()},
}
RIGHT_N, RIGHT_S, SHARE = "right after N pictures", "right after S steps", "share of the steps"
AS_OFTEN = {
    "to be right as often as the fixed search": "to be right as often as the fixed search",
    "... as `reflection` that stops at a pass": "... as the one that stops",
}
REFERENCES = ("`noise`", "`reflection`")  # without shares of the steps of their own
Cell = dict[str, float]


class Study:
    """The tables that one file of an evaluation holds."""

    def __init__(self, file: Path) -> None:
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        header = json.loads(content.partition(b"\n")[0])
        self.seed: int = header["seed"]
        self.prompts: int = len(header["questions"])
        self._tables: dict[str, list[dict[str, Any]]]
        if ".part" in file.suffixes:
            results = _unfinished(header, content)
            self.prompts = len(results.evaluation.prompts)
            self._tables = {
                study: [table.data() for table in tables_of(study, results, StudyPlan())]
                for study in ("strategies", "scouts")
            }
        else:
            self._tables = header["summary"]["tables"]

    def cell(self, study: str, title: str, row: str, column: str) -> Cell:
        """An estimate with its interval, of the table of that title which has the row."""
        found = next(
            table
            for table in self._tables[study]
            if table["title"] == title and row in table["rows"]
        )
        return found["rows"][row][found["columns"].index(column)]

    def hard_title(self) -> str:
        """The title of the table of hard prompts, which says how many there are."""
        titles = [table["title"] for table in self._tables["scouts"]]
        return next(title for title in titles if title.endswith("hard prompts"))


def _unfinished(header: dict[str, Any], content: bytes) -> Results:
    prompts = held_out(len(header["questions"]) // len(FAMILIES), header["seed"], FAMILIES)
    arms = study_named(header["study"])(StudyPlan())
    evaluation = Evaluation(header["study"], arms, prompts, header["seed"], header["about"])
    with TemporaryDirectory() as folder:
        file = Path(folder, "evaluation.json")
        part_of(file).write_bytes(content)
        return results_so_far(evaluation, file)


def by_pictures(study: Study) -> list[str]:
    """Right after N pictures, every strategy."""
    columns = ("N = 1", "4", "8", "32", "pictures to the end", "32, judges err")
    lines = _head("right after N pictures", *columns)
    for label, arm in STRATEGIES.items():
        right = [study.cell("strategies", RIGHT_N, arm, f"N = {count}") for count in (1, 4, 8, 32)]
        pictures = study.cell("strategies", "spent on a prompt", arm, "pictures")["mean"]
        erring = study.cell("strategies", RIGHT_N, arm + ERRORS, "N = 32")
        cells = [_short(right[0]), _long(right[1]), _short(right[2]), _long(right[3])]
        lines.append(_row(label, *cells, f"{pictures:.1f}", _long(erring)))
    return lines


def by_steps(study: Study, title: str) -> list[str]:
    """Right after S diffusion steps, of all or of hard prompts."""
    budgets = (30, 60, 120, 240, 480, 960)
    lines = _head(title, "S = 30", *map(str, budgets[1:]))
    for label, arm in WITH_ERRORS.items():
        cells = [study.cell("scouts", title, arm, f"S = {budget}") for budget in budgets]
        intervals = (2, 5)  # the columns that have one: the table would be too wide
        texts = [_long(c) if i in intervals else _short(c) for i, c in enumerate(cells)]
        lines.append(_row(label, *texts))
    return lines


def shares(study: Study) -> list[str]:
    """Which share of the steps of the paper's search each strategy takes."""
    columns = (*AS_OFTEN.items(), ("to the end, of the latter", "... of the one that stops"))
    lines = _head(SHARE, *(head for head, _ in columns), "gain over it in the end")
    for label, arm in _compared():
        cells = [study.cell("scouts", SHARE, arm, column) for _, column in columns]
        gain = study.cell("scouts", SHARE, arm, "gain over it")
        texts = [_long(cell, ".2f") for cell in cells]
        lines.append(_row(label, *texts, f"{gain['mean']:+.3f} {_interval(gain)}"))
    return lines


def side_by_side(studies: Sequence[Study]) -> list[str]:
    """The main figures of each study."""
    seeds = [f"seed {study.seed}" for study in studies]
    if len({study.prompts for study in studies}) > 1:
        seeds = [f"seed {study.seed}, {study.prompts} prompts" for study in studies]
    lines = _head("right after 32 pictures", *seeds, *(f"{seed}, judges err" for seed in seeds))
    for label, arm in STRATEGIES.items():
        cells = [
            study.cell("strategies", RIGHT_N, row, "N = 32")
            for row in (arm, arm + ERRORS)
            for study in studies
        ]
        lines.append(_row(label, *map(_long, cells)))
    lines += ["", *_head("right after 960 steps", *seeds, *(f"{seed}, hard" for seed in seeds))]
    for label, arm in WITH_ERRORS.items():
        cells = [
            study.cell("scouts", title, arm, "S = 960")
            for hard in (False, True)
            for study in studies
            for title in [study.hard_title() if hard else RIGHT_S]
        ]
        lines.append(_row(label, *map(_long, cells)))
    heads = [f"{head}, {seed}" for head in AS_OFTEN for seed in seeds]
    lines += ["", *_head(SHARE, *heads)]
    for label, arm in _compared():
        cells = [
            study.cell("scouts", SHARE, arm, column)
            for column in AS_OFTEN.values()
            for study in studies
        ]
        lines.append(_row(label, *(_long(cell, ".2f") for cell in cells)))
    return lines


def tables(studies: Sequence[Study]) -> list[str]:
    """All tables as lines, an empty one between two."""
    first = studies[0]
    parts = [
        by_pictures(first),
        by_steps(first, RIGHT_S),
        by_steps(first, first.hard_title()),
        shares(first),
    ]
    if len(studies) > 1:
        parts.append(side_by_side(studies))
    return [line for part in parts for line in (*part, "")]


def _compared() -> Iterable[tuple[str, str]]:
    leave_out = {*REFERENCES, *(f"{label}, judges err" for label in REFERENCES)}
    return ((label, arm) for label, arm in WITH_ERRORS.items() if label not in leave_out)


def _head(*cells: str) -> list[str]:
    return [_row(*cells), f"|{'---|' * len(cells)}"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _short(cell: Cell) -> str:
    return f"{cell['mean']:.3f}"


def _long(cell: Cell, digits: str = ".3f") -> str:
    return f"{cell['mean']:{digits}} {_interval(cell, digits)}"


def _interval(cell: Cell, digits: str = ".3f") -> str:
    return f"[{cell['low']:{digits}}, {cell['high']:{digits}}]"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    sys.stdout.write("\n".join(tables([Study(file) for file in parser.parse_args().files])))


if __name__ == "__main__":
    main()
