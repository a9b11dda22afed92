"""The pictures of a benchmark: a search for every sample of every prompt, its best one kept.

FOLDER/painting.json says what was asked and what each picture cost; while it is under way that is
FOLDER/painting.json.part, and a killed painting goes on after its last line.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..archive import files
from ..evaluation.journal import Journal
from ..evaluation.pool import Crew, run_all
from ..evaluation.statistics import task_mean
from ..evaluation.tables import Table
from ..evaluation.trial import Spent, spent_of, summed_cost
from ..evaluation.work import Done, written
from ..protocols import Actors
from ..record import InputError, SearchSettings
from ..search import search
from ..search.seeds import shuffled
from .folder import begin_prompt, prompt_folder, sample_place

RECORD = "painting.json"
SPENT = ("pictures", "steps", "VLM calls", "seconds")  # the fields of Spent, for readers


@dataclass(frozen=True)
class Painting:
    """What is painted into `folder`: `samples` pictures of each prompt, each of a search of its
    own. `about` says by whom.
    """

    folder: Path
    prompts: Sequence[Mapping[str, Any]]  # each with its "prompt"
    samples: int
    settings: SearchSettings
    about: Mapping[str, Any]

    @property
    def journal(self) -> Journal:
        asked = {
            "seed": self.settings.seed,
            "samples": self.samples,
            "about": dict(self.about),
            "prompts": [dict(metadata) for metadata in self.prompts],
        }
        return Journal(self.folder / RECORD, asked)

    @property
    def canvases(self) -> list[Canvas]:
        return [
            Canvas(index, sample, str(metadata["prompt"]), self._settings(index, sample))
            for index, metadata in enumerate(self.prompts)
            for sample in range(self.samples)
        ]

    def _settings(self, index: int, sample: int) -> SearchSettings:
        key = shuffled(index, key=self.settings.seed)
        return replace(self.settings, seed=shuffled(sample, key=key))


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture to paint: sample `sample` of prompt `index`."""

    index: int
    sample: int
    prompt: str
    settings: SearchSettings


@dataclass(frozen=True, slots=True)
class Painted:
    index: int
    sample: int
    seed: int
    score: float
    spent: Spent
    png: bytes


def paint(painting: Painting, build: Callable[[], Actors], crew: Crew) -> Iterator[int]:
    """Paints what is missing and yields how many pictures there are after each."""
    if is_painted(painting):
        yield len(painting.canvases)
        return
    known = {(line["index"], line["sample"]) for line in _begun(painting)}
    missing = [c for c in painting.canvases if (c.index, c.sample) not in known]
    yield len(known)
    work = partial(_painters, build, sorted({canvas.prompt for canvas in missing}))
    for count, done in enumerate(run_all(missing, work, crew), start=len(known) + 1):
        _keep(painting, done)
        yield count
    lines = painting.journal.lines(dict)
    painting.journal.finish({"pictures": sorted(lines, key=_place)})


def is_painted(painting: Painting) -> bool:
    """Whether all is there; raises InputError where the folder holds something else."""
    if not painting.journal.file.exists():
        return False
    record = read_record(painting.folder) or {}
    if {**record, "pictures": None} != {**painting.journal.header, "pictures": None}:
        raise InputError(
            f"{painting.folder} holds the pictures of another painting. "
            "Give the options that it was painted with, or another folder."
        )
    return True


def read_record(folder: Path) -> dict[str, Any] | None:
    """What is known of how the pictures of a folder were painted; None for pictures from
    elsewhere. Raises InputError where they are not finished.
    """
    file = folder / RECORD
    if Journal(file, {}).part.exists():
        raise InputError(
            f"The pictures in {folder} are not all painted. Go on with the command that began them."
        )
    if not file.exists():
        return None
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{file} is damaged ({error}). Remove it, or paint anew.") from error


def cost_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """What all pictures of a finished painting cost together."""
    return summed_cost((line["spent"], line["trace"]) for line in record["pictures"])


def cost_table(record: Mapping[str, Any]) -> Table:
    """What the search of one kept picture spent; the intervals come from prompts drawn anew."""
    lines = record["pictures"]
    spent = np.array([line["spent"] for line in lines])  # (pictures, fields of Spent)
    indices = np.array([line["index"] for line in lines])
    own = indices == np.unique(indices)[:, None]  # (prompts, pictures)
    kept, alike = own.sum(1).astype(float), np.zeros(len(own))
    cells = tuple(task_mean(own @ spent[:, i], kept, alike) for i in range(len(Spent._fields)))
    return Table("spent on a picture", SPENT, (("its search", cells),))


def _begun(painting: Painting) -> list[dict[str, Any]]:
    """The lines so far; begins the folder if there is none."""
    folder, journal = painting.folder, painting.journal
    if not journal.part.exists() and prompt_folder(folder, 0).exists():
        raise InputError(
            f"{folder} holds pictures from elsewhere. Leave --generate away to evaluate them, or "
            "give another folder."
        )
    lines = journal.lines(dict)
    for index, metadata in enumerate(painting.prompts):
        if not lines or not prompt_folder(folder, index).exists():
            begin_prompt(folder, index, metadata)
    return lines


def _keep(painting: Painting, done: Done[Painted]) -> None:
    """The picture first: a line without one would never be painted."""
    it = done.value
    files.replace_file(sample_place(painting.folder, it.index, it.sample), it.png)
    told = {"index": it.index, "sample": it.sample, "seed": it.seed, "score": it.score}
    painting.journal.append({**told, "spent": it.spent, "trace": written(done.trace)})


def _painters(build: Callable[[], Actors], prompts: Sequence[str]) -> Callable[[Canvas], Painted]:
    actors = build()
    for prompt in prompts:  # no picture, only whether it can be judged, before hours are painted
        actors.verifier.verify(prompt, [])
    return partial(_painted, actors)


def _painted(actors: Actors, canvas: Canvas) -> Painted:
    *_, history = search(canvas.prompt, canvas.settings, actors)
    png = io.BytesIO()
    history.best.image.save(png, "PNG")
    seed, score = canvas.settings.seed, history.best.score
    spent = spent_of(history.cost)
    return Painted(canvas.index, canvas.sample, seed, score, spent, png.getvalue())


def _place(line: Mapping[str, Any]) -> tuple[int, int]:
    return line["index"], line["sample"]
