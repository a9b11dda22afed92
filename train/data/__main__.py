"""`python -m train.data --config FILE [--plan] [--dry-run] [key=value ...]`: reflection triplets.

A run that was killed goes on where it was: finished shards are kept, and the parts of others too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError
from train.data.edits import MADE
from train.data.engine import ray_session, run_here, run_on_ray
from train.data.finish import IMAGES, finish
from train.data.plan import plan_notes, plan_table
from train.data.prompts import SHAPES
from train.data.records import Slice
from train.data.settings import Settings
from train.data.shards import PARTS, assemble, finished, forget_parts, part_file
from train.data.source import Source, Stage
from train.data.synthetic import SYNTHETIC
from train.data.work import begin, run_record, sharded, sources_of, stages_of
from train.settings import parse_request, refuse, stop

ABOUT = "Makes reflection triplets: prompts, pictures, judgements, pairs, reflections, shards."
ASKING = ("condense", "caption")  # stages that cannot do without a model
Running = Callable[[Sequence[Stage], Sequence[Slice]], Iterator[Slice]]
Opening = Callable[[], AbstractContextManager[Running]]


def main(arguments: Sequence[str]) -> None:
    request = parse_request(Settings, arguments, "train.data", ABOUT)
    console = Console()
    try:
        if request.plan:
            console.print(plan_table(request.settings))
            console.print("\n".join(plan_notes(request.settings)), highlight=False)
        elif request.dry_run:
            dry_run(request.settings, console)
        else:
            run(request.settings, console)
    except InputError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        stop()


def run(settings: Settings, console: Console) -> None:
    """The whole work, on Ray."""
    sources = sources_of(settings)
    folder = settings.out.expanduser()
    files.make_folder(folder / PARTS)
    with files.locked(folder):
        begin(folder, run_record(settings, sources))
        _sweep(folder)
        make(sources, settings, console, _on_ray(settings))
        _sweep(folder)  # also what a worker of a killed run has finished meanwhile
        with suppress(OSError):
            (folder / PARTS).rmdir()
    console.print(f"Done: {folder}", highlight=False)


def dry_run(settings: Settings, console: Console) -> None:
    """One slice of every source through every stage, here, with noise for pictures and judges that
    throw dice; nothing is kept. Texts that a model would have to write first stay empty, and the
    shapes world stands in for prompts and edits whose files are not here yet.
    """
    settings, lacking = stood_in(settings)
    for file in lacking:
        console.print(
            f"{file} is not here; the dry run does without it.", highlight=False, soft_wrap=True
        )
    with TemporaryDirectory() as folder:
        small = toy(settings, Path(folder))
        files.make_folder(small.out / PARTS)
        sources = [
            replace(source, stages=tuple(s for s in source.stages if s.name not in ASKING))
            for source in sources_of(small)
        ]
        make(sources, small, console, lambda: nullcontext(run_here))
    console.print("The dry run went through every stage; nothing was kept.")


def stood_in(settings: Settings) -> tuple[Settings, list[str]]:
    """The settings without the files that are not here, and which those are."""
    told = settings.model_dump()
    named = {file: file for file in map(str, told["benchmarks"])}
    named |= {told[part]["file"]: told[part]["file"] for part in ("reward", "length")}
    named |= {spec: spec.partition(":")[2] for spec in told["editing"]["sets"]}
    lacking = {name: file for name, file in named.items() if file and not is_here(name, file)}
    told["benchmarks"] = [file for file in told["benchmarks"] if str(file) not in lacking]
    for part in ("reward", "length"):
        told[part]["file"] = SHAPES if told[part]["file"] in lacking else told[part]["file"]
    sets = [SHAPES if spec in lacking else spec for spec in told["editing"]["sets"]]
    told["editing"]["sets"] = list(dict.fromkeys(sets))
    return Settings.model_validate(told), list(lacking.values())


def is_here(name: str, file: str) -> bool:
    """Whether a file, or one of a pattern's, is there; the shapes world always is."""
    path = Path(file).expanduser()
    made = name.partition(":")[0] in MADE
    return made or path.exists() or any(path.parent.glob(path.name))


def toy(settings: Settings, folder: Path) -> Settings:
    """The settings with no model in them and a slice of work for each source."""
    few = settings.engine.slice_items
    judged, scored = {"judge": SYNTHETIC}, {"scorers": [SYNTHETIC]}
    told = {
        "out": folder,
        "images": False,
        "painter": {"model": SYNTHETIC},
        "rule": {**judged, "prompts": min(settings.rule.prompts, few)},
        "reward": {**scored, "prompts": min(settings.reward.prompts, few)},
        "length": {**scored, "prompts": min(settings.length.prompts, few)},
        "editing": {"pairs": min(settings.editing.pairs, few)},
        "reflections": {"how": "template"},
        "filter": scored,
    }
    whole = settings.model_dump()
    for name, value in told.items():
        whole[name] = {**whole[name], **value} if isinstance(value, dict) else value
    return Settings.model_validate(whole)


def make(sources: Sequence[Source], settings: Settings, console: Console, engine: Opening) -> None:
    """All shards that are not there yet, then all that tells of them."""
    folder = settings.out.expanduser()
    left: dict[str, dict[int, list[Slice]]] = {}
    count = 0
    for source in sources:
        shards = sharded(source, count, settings)
        count += len(shards)
        left[source.name] = {s: work for s, work in shards.items() if not finished(folder, s)}
    if any(left.values()):
        with engine() as run_stages, _bar(console) as progress:
            for source in sources:
                shards = left[source.name]
                task = progress.add_task(source.name, total=sum(map(len, shards.values())))
                for shard in _made(source, shards, settings, run_stages):
                    progress.advance(task, len(shards[shard]))
    manifest = finish(folder, range(count), sources, settings)
    console.print(_summary(manifest), highlight=False)


def _made(
    source: Source, shards: dict[int, list[Slice]], settings: Settings, run_stages: Running
) -> Iterator[int]:
    """Each shard as soon as its last part is there and it is one."""
    folder = settings.out.expanduser()
    missing = {
        shard: {w.place for w in slices if not part_file(folder, shard, w.place).exists()}
        for shard, slices in shards.items()
    }
    todo = [w for shard, slices in shards.items() for w in slices if w.place in missing[shard]]
    whole = [shard for shard in shards if not missing[shard]]
    done = run_stages(stages_of(source, settings), todo) if todo else iter(())
    for shard in chain(whole, _completed(done, missing)):
        assemble(folder, shard, len(shards[shard]), settings.filter.near_bits)
        yield shard


def _completed(done: Iterator[Slice], missing: dict[int, set[int]]) -> Iterator[int]:
    for work in done:
        missing[work.shard].discard(work.place)
        if not missing[work.shard]:
            yield work.shard


def _on_ray(settings: Settings) -> Opening:
    @contextmanager
    def session() -> Iterator[Running]:
        with ray_session(settings.engine):
            yield run_on_ray

    return session


def _sweep(folder: Path) -> None:
    """Clears away what a killed run was writing; no one else is, for the folder is ours."""
    for place in (folder, folder / PARTS, folder / IMAGES):
        files.sweep(place, "*")
    for shard in {
        int(file.stem.partition("-")[0]) for file in (folder / PARTS).glob("[0-9]*-*.tar")
    }:
        if finished(folder, shard):
            forget_parts(folder, shard)


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} slices"),
    )
    return Progress(*columns, TimeRemainingColumn(), console=console)


def _summary(manifest: Mapping[str, Any]) -> str:
    subsets = ", ".join(f"{count} {name}" for name, count in manifest["subsets"].items())
    lines = [f"{manifest['triplets']} triplets ({subsets})."]
    lines += [f"  {count} x {reason}" for reason, count in manifest["rejects"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
