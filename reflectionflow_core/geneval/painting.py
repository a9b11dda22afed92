"""The pictures of a benchmark: the best picture of a search for every sample of every prompt.

FOLDER/painting.json records the options and the cost of each picture; until all are painted it is
FOLDER/painting.json.part, from which a killed run is resumed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..archive import files
from ..evaluation.journal import Journal
from ..evaluation.pool import WorkerPool
from ..evaluation.statistics import task_mean
from ..evaluation.tables import Table
from ..evaluation.trial import Spent, spent_of, summed_cost
from ..protocols import Actors
from ..record import InputError
from ..search import search
from ..search.seeds import shuffled
from ..search.unjudged import MOST_UNJUDGED_IN_A_ROW, UnjudgedError
from ..settings import SearchSettings
from ..texts import parse_json, reason_of
from .folder import begin_prompt, prompt_folder, sample_path

RECORD = "painting.json"
COST_COLUMNS = ("pictures", "steps", "VLM calls", "seconds")  # fields of Spent


@dataclass(frozen=True)
class PaintingRun:
    """`samples` pictures per prompt in `folder`, one search each; `about` describes the actors."""

    folder: Path
    prompts: Sequence[Mapping[str, Any]]  # each with its "prompt"
    samples: int
    settings: SearchSettings
    about: Mapping[str, Any]

    @property
    def journal(self) -> Journal:
        header = {
            "seed": self.settings.seed,
            "samples": self.samples,
            "about": dict(self.about),
            "prompts": [dict(metadata) for metadata in self.prompts],
        }
        return Journal(self.folder / RECORD, header)

    @property
    def jobs(self) -> list[PaintJob]:
        return [
            PaintJob(index, sample, str(metadata["prompt"]), self._settings(index, sample))
            for index, metadata in enumerate(self.prompts)
            for sample in range(self.samples)
        ]

    def _settings(self, index: int, sample: int) -> SearchSettings:
        key = shuffled(index, key=self.settings.seed)
        return replace(self.settings, seed=shuffled(sample, key=key))


@dataclass(frozen=True, slots=True)
class PaintJob:
    """A picture to paint: sample `sample` of prompt `index`."""

    index: int
    sample: int
    prompt: str
    settings: SearchSettings


@dataclass(frozen=True, slots=True)
class PaintedSample:
    index: int
    sample: int
    seed: int
    score: float | None  # None if the picture could not be judged
    spent: Spent
    png: bytes


def paint(painting: PaintingRun, build: Callable[[], Actors], pool: WorkerPool) -> Iterator[int]:
    """Paints the missing pictures; yields the number done after each."""
    if is_painted(painting):
        yield len(painting.jobs)
        return
    journal = painting.journal
    with journal.locked():
        known = {(line["index"], line["sample"]) for line in _begun(painting)}
        missing = [job for job in painting.jobs if (job.index, job.sample) not in known]
        work = partial(_painters, build, sorted({job.prompt for job in missing}))
        keep = partial(_keep, painting.folder)
        yield from journal.run(missing, len(known), work, pool, keep)
        lines = journal.lines(dict)
        lines.sort(key=lambda line: (line["index"], line["sample"]))
        journal.finish({"pictures": lines})


def is_painted(painting: PaintingRun) -> bool:
    """Whether all pictures are painted; InputError if the folder contains something else."""
    if not painting.journal.file.exists():
        return False
    record = read_record(painting.folder) or {}
    if {**record, "pictures": None} != {**painting.journal.header, "pictures": None}:
        raise InputError(
            f"{painting.folder} contains pictures painted with other options. Give the same "
            "options, or another folder."
        )
    return True


def read_record(folder: Path) -> dict[str, Any] | None:
    """How the pictures of a folder were painted; None for pictures from elsewhere.

    InputError if painting is not finished.
    """
    file = folder / RECORD
    if Journal(file, {}).part.exists():
        raise InputError(
            f"The pictures in {folder} are not all painted. Run the same command again."
        )
    if not file.exists():
        return None
    try:
        record = parse_json(file.read_bytes())
        if not isinstance(record, dict):
            raise ValueError("it is not a JSON object")
        return record
    except ValueError as error:
        raise InputError(f"{file} is damaged ({error}). Remove it, or paint again.") from error


@dataclass(frozen=True)
class PaintedBy:
    """How the pictures of a folder were painted; empty for pictures from elsewhere."""

    seed: int | None = None
    cost: Mapping[str, Any] | None = None  # cost of all pictures
    tables: Sequence[Table] = ()  # mean cost of a picture


def painted_by(folder: Path) -> PaintedBy:
    record = read_record(folder) if folder.is_dir() else None
    if record is None:
        return PaintedBy()
    try:
        return PaintedBy(record["seed"], cost_record(record), (cost_table(record),))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{folder / RECORD} is damaged ({reason_of(error)}). Remove it, or paint again."
        ) from error


def cost_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """The cost of all pictures of a finished record."""
    return summed_cost((line["spent"], line["trace"]) for line in record["pictures"])


def cost_table(record: Mapping[str, Any]) -> Table:
    """The mean cost of the search for one picture, with a bootstrap over prompts."""
    lines = record["pictures"]
    spent = np.array([line["spent"] for line in lines])  # (pictures, fields of Spent)
    indices = np.array([line["index"] for line in lines])
    own = indices == np.unique(indices)[:, None]  # (prompts, pictures)
    kept, one_task = own.sum(1).astype(float), np.zeros(len(own))
    cells = tuple(task_mean(own @ spent[:, i], kept, one_task) for i in range(len(Spent._fields)))
    return Table("spent on a picture", COST_COLUMNS, (("its search", cells),))


def _begun(painting: PaintingRun) -> list[dict[str, Any]]:
    """The lines so far; creates the prompts' folders."""
    folder, journal = painting.folder, painting.journal
    if not journal.part.exists() and prompt_folder(folder, 0).exists():
        raise InputError(
            f"{folder} contains pictures from elsewhere. Remove --generate to evaluate them, or "
            "give another folder."
        )
    lines = journal.lines(dict)
    for index, metadata in enumerate(painting.prompts):
        if not lines or not prompt_folder(folder, index).exists():
            begin_prompt(folder, index, metadata)
    return lines


def _keep(folder: Path, painted: PaintedSample) -> dict[str, Any]:
    """Writes the picture, then returns its line: a line means that the picture exists."""
    files.replace_file(sample_path(folder, painted.index, painted.sample), painted.png)
    line = asdict(painted)
    del line["png"]
    return line


def _painters(
    build: Callable[[], Actors], prompts: Sequence[str]
) -> Callable[[PaintJob], PaintedSample]:
    actors = build()
    for prompt in prompts:  # without pictures: rejects prompts that cannot be judged
        actors.verifier.verify(prompt, [])
    return _Painter(actors)


class _Painter:
    """The best picture of each search.

    A search whose pictures could not be judged gives its first one: a server may refuse one prompt
    for ever. After MOST_UNJUDGED_IN_A_ROW such searches UnjudgedError is raised, since then the
    judge is at fault.
    """

    def __init__(self, actors: Actors) -> None:
        self.actors, self.unjudged = actors, 0

    def __call__(self, job: PaintJob) -> PaintedSample:
        try:
            *_, history = search(job.prompt, job.settings, self.actors)
            self.unjudged = 0
        except UnjudgedError as error:
            self.unjudged, history = self.unjudged + 1, error.history
            if self.unjudged >= MOST_UNJUDGED_IN_A_ROW:
                raise
        png = io.BytesIO()
        history.best.image.save(png, "PNG")
        seed, score = job.settings.seed, history.best.score
        spent = spent_of(history.cost)
        return PaintedSample(job.index, job.sample, seed, score, spent, png.getvalue())


def unjudged_text(folder: Path) -> str:
    """How many pictures of a finished folder the verifier could not judge; "" if none."""
    lines = (read_record(folder) or {"pictures": []})["pictures"]
    count = sum(line["score"] is None for line in lines)
    if not count:
        return ""
    return (
        f"{count:,} of {len(lines):,} searches could not be judged. "
        "The first picture of each of them was kept."
    )
