"""A run of the data engine: sources, slices, shards, and what describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError
from train.data.engine import ray_session, run_on_ray
from train.data.finish import IMAGES, finish
from train.data.records import Slice
from train.data.settings import DataSettings
from train.data.shards import PARTS, assemble, finished, forget_parts, part_file
from train.data.source import PipelineStage, Source
from train.data.work import run_record, sharded, sources_of, stages_of
from train.run_folder import start_or_resume

RUN = "run.json"
RunStages = Callable[[Sequence[PipelineStage], Sequence[Slice]], Iterator[Slice]]
OpenEngine = Callable[[], AbstractContextManager[RunStages]]


def run(settings: DataSettings) -> str:
    """The whole work, on Ray; returns a summary."""
    sources = sources_of(settings)
    folder = settings.out.expanduser()
    files.make_folder(folder / PARTS)
    with files.locked(folder):
        begin(settings, sources)
        _sweep(folder)
        summary = make(sources, settings, _on_ray(settings))
        _sweep(folder)  # also what a worker of a killed run has finished meanwhile
        with suppress(OSError):
            (folder / PARTS).rmdir()
    return f"{summary}Done: {folder}\n"


def begin(settings: DataSettings, sources: list[Source]) -> None:
    """Writes down what is asked; InputError where the folder holds anything else."""
    folder = settings.out.expanduser()
    if not (folder / RUN).exists() and any(folder.glob("*.tar")):
        raise InputError(f"{folder} holds shards of other programs. Choose another folder.")
    start_or_resume(folder / RUN, run_record(settings, sources))


def make(sources: Sequence[Source], settings: DataSettings, open_engine: OpenEngine) -> str:
    """Makes all missing shards, then the files that describe them; returns a summary."""
    folder = settings.out.expanduser()
    left: dict[str, dict[int, list[Slice]]] = {}
    count = 0
    for source in sources:
        shards = sharded(source, count, settings)
        count += len(shards)
        left[source.name] = {s: work for s, work in shards.items() if not finished(folder, s)}
    if any(left.values()):
        with open_engine() as engine, _bar() as progress:
            for source in sources:
                shards = left[source.name]
                task = progress.add_task(source.name, total=sum(map(len, shards.values())))
                for shard in _made(source, shards, settings, engine):
                    progress.advance(task, len(shards[shard]))
    return _summary(finish(folder, range(count), sources, settings))


def _made(
    source: Source, shards: dict[int, list[Slice]], settings: DataSettings, engine: RunStages
) -> Iterator[int]:
    """The number of each shard, as soon as it is assembled from its parts."""
    folder = settings.out.expanduser()
    missing = {
        shard: {w.position for w in slices if not part_file(folder, shard, w.position).exists()}
        for shard, slices in shards.items()
    }
    todo = [w for shard, slices in shards.items() for w in slices if w.position in missing[shard]]
    whole = [shard for shard in shards if not missing[shard]]
    done = engine(stages_of(source, settings), todo) if todo else iter(())
    for shard in chain(whole, _completed(done, missing)):
        assemble(folder, shard, len(shards[shard]), settings.filter.near_bits)
        yield shard


def _completed(done: Iterator[Slice], missing: dict[int, set[int]]) -> Iterator[int]:
    for work in done:
        missing[work.shard].discard(work.position)
        if not missing[work.shard]:
            yield work.shard


def _on_ray(settings: DataSettings) -> OpenEngine:
    @contextmanager
    def session() -> Iterator[RunStages]:
        with ray_session(settings.engine):
            yield run_on_ray

    return session


def _sweep(folder: Path) -> None:
    """Removes what a killed run left half-written; the folder is locked, so nobody else writes."""
    for each in (folder, folder / PARTS, folder / IMAGES):
        files.sweep(each, "*")
    for shard in {
        int(file.stem.partition("-")[0]) for file in (folder / PARTS).glob("[0-9]*-*.tar")
    }:
        if finished(folder, shard):
            forget_parts(folder, shard)


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} slices"),
    )
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _summary(manifest: Mapping[str, Any]) -> str:
    subsets = ", ".join(f"{count} {name}" for name, count in manifest["subsets"].items())
    lines = [f"{manifest['triplets']} triplets ({subsets})."]
    lines += [f"  {count} x {reason}" for reason, count in manifest["rejects"].items()]
    return "".join(f"{line}\n" for line in lines)
