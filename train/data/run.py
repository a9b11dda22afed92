"""A run of the data engine: sources, slices, shards, and the files that describe them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError
from train.data.engine import HERE, ON_RAY, Runner, ray_session
from train.data.finish import IMAGES, finish, reports_of
from train.data.records import Slice
from train.data.repeats import Repeats, repeats
from train.data.settings import DataSettings
from train.data.shards import PARTS, assemble, finished, forget_parts, part_file, recover, thin
from train.data.source import Source
from train.data.work import run_record, sharded, sources_of, stages_of
from train.progress import Show, progress
from train.run_folder import forgotten, output_folder, start_or_resume
from train.shard_lists import RUN
from train.triplets import CHATS

MADE = (f"{PARTS}/*.tar", "genref_*")  # what depends on the settings
JOINED_AT_ONCE = 8  # shards assembled at once
OpenEngine = Callable[[], AbstractContextManager[Runner]]


def run(settings: DataSettings) -> str:
    """Runs everything on Ray; returns a summary."""
    sources = sources_of(settings)
    folder = settings.out
    with output_folder(folder), files.locked(folder):
        begin(settings, sources)
        with forgotten(folder / RUN, MADE), _parts(folder):
            _sweep(folder)
            summary = make(sources, settings, _on_ray(settings))
            _sweep(folder)  # includes work finished by workers of a killed run
    return f"{summary}Done: {folder}\n"


@contextmanager
def _parts(folder: Path) -> Iterator[None]:
    """A context with the folder of unfinished shards, which is removed if it is empty then."""
    files.make_folder(folder / PARTS)
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / PARTS).rmdir()


def begin(settings: DataSettings, sources: list[Source]) -> None:
    """Records the settings; InputError if the folder contains other data."""
    folder = settings.out
    if not (folder / RUN).exists() and any(folder.glob("*.tar")):
        raise InputError(f"{folder} contains shards of other programs. Choose another folder.")
    start_or_resume(folder / RUN, run_record(settings, sources))


def make(sources: Sequence[Source], settings: DataSettings, open_engine: OpenEngine) -> str:
    """Makes all missing shards, then the files that describe them; returns a summary."""
    folder = settings.out
    left: dict[str, dict[int, list[Slice]]] = {}
    count = 0
    for source in sources:
        shards = sharded(source, count, settings)
        count += len(shards)
        left[source.name] = {s: work for s, work in shards.items() if not finished(folder, s)}
    with open_engine() if any(left.values()) else nullcontext(HERE) as engine:
        for source in sources:
            _make(source, left[source.name], settings, engine)
        found = repeats(reports_of(folder, range(count)), settings.filter.near_bits)
        _each(engine, thin, ((folder, *each) for each in _by_keys(folder, found)))
    return _summary(finish(folder, range(count), sources, settings))


def _make(
    source: Source, shards: dict[int, list[Slice]], settings: DataSettings, engine: Runner
) -> None:
    """Makes what is missing of these shards; each is assembled once its parts are complete."""
    folder = settings.out
    missing = {
        shard: {w.position for w in slices if not part_file(folder, shard, w.position).exists()}
        for shard, slices in shards.items()
    }
    todo = [w for shard, slices in shards.items() for w in slices if w.position in missing[shard]]
    whole = [shard for shard in shards if not missing[shard]]
    done = engine.run(stages_of(source, settings), todo) if todo else iter(())
    total = sum(map(len, shards.values()))
    with progress(source.name, total - len(todo), total, "slice") as show:
        ready = chain(whole, _completed(done, missing, total - len(todo), show))
        near = settings.filter.near_bits
        _each(engine, assemble, ((folder, shard, len(shards[shard]), near) for shard in ready))


def _by_keys(folder: Path, found: Repeats) -> Iterator[tuple[int, dict[str, str]]]:
    for shard, report in reports_of(folder, list(found)):
        yield shard, {report.samples[place].key: why for place, why in found[shard].items()}


def _each(engine: Runner, act: Callable[..., object], calls: Iterable[tuple[object, ...]]) -> None:
    """Runs all calls, several at a time."""
    waiting: deque[Callable[[], object]] = deque()
    for given in calls:
        waiting.append(engine.begin(act, *given))
        if len(waiting) > JOINED_AT_ONCE:
            waiting.popleft()()
    for result in waiting:
        result()


def _completed(
    done: Iterator[Slice], missing: dict[int, set[int]], before: int, show: Show
) -> Iterator[int]:
    """The number of each shard when its last part is done."""
    for count, work in enumerate(done, before + 1):
        missing[work.shard].discard(work.position)
        show(count)
        if not missing[work.shard]:
            yield work.shard


def _on_ray(settings: DataSettings) -> OpenEngine:
    @contextmanager
    def session() -> Iterator[Runner]:
        with ray_session(settings.engine):
            yield ON_RAY

    return session


def _sweep(folder: Path) -> None:
    """Removes incomplete files of a killed run; the folder is locked, so nobody else is writing."""
    for each in (folder, folder / PARTS, folder / IMAGES):
        files.sweep(each, "*")
    for shard in {
        int(file.stem.partition("-")[0]) for file in (folder / PARTS).glob("[0-9]*-*.tar")
    }:
        recover(folder, shard)
        if finished(folder, shard):
            forget_parts(folder, shard)


def _summary(manifest: Mapping[str, Any]) -> str:
    subsets = ", ".join(f"{count} {name}" for name, count in manifest["subsets"].items())
    count, asked = manifest["triplets"], manifest["subsets"].get(CHATS, 0)
    made = f"{asked} questions with answers" if asked else f"{count} triplets ({subsets})"
    lines = [f"{made}."]
    lines += [f"  {count} x {reason}" for reason, count in manifest["rejects"].items()]
    return "".join(f"{line}\n" for line in lines)
