"""The data engine on Ray: `pytest tests/train/test_data_ray.py`.

One session serves all tests that need Ray in this process; the program itself is started twice,
the first time to be killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError
from train.data.engine import HERE, ray_session, run_here, run_on_ray
from train.data.records import Item, PaintedPicture, Slice
from train.data.run import begin, make
from train.data.settings import DataSettings, Engine, Pool
from train.data.shards import PARTS
from train.data.source import PipelineStage, StageFunction
from train.data.work import sources_of
from train.settings import settings_of

ROOT = Path(__file__).parents[2]
SLICES = [Slice(0, place, (Item(place, f"p{place}\0"),)) for place in range(12)]
DICE = [
    "painter.model=synthetic",
    "image_format=png",
    "rule.prompts=360",
    "rule.candidates=3",
    "rule.judge=synthetic",
    "rule.objects=[ant, bee, cat, dog, eel, fox, gnu, hen, owl, pig]",
    "rule.colours=[red, blue, green]",
    "filter.scorers=[synthetic]",
    "engine.cpus=2",
    "engine.object_store_gb=0.2",
    "engine.shard_items=30",
    "engine.slice_items=3",
]


class Step:
    """Writes down in a file that it was built, and counts on."""

    def __init__(self, log: Path) -> None:
        with log.open("a") as stream:
            stream.write("built\n")

    def __call__(self, work: Slice) -> Slice:
        return work.paired((), [f"seen {work.position}"], steps=1)


def refuse(work: Slice | None = None) -> Any:
    raise InputError("The model is missing. Give one.")


def die_once(mark: Path) -> StageFunction:
    """A worker that is killed in the middle of its first slice, and lives the second time."""

    def work(given: Slice) -> Slice:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return given

    return work


def heavy(work: Slice) -> Slice:
    """Of all slices twice what the object store holds."""
    picture = PaintedPicture(bytes(33_000_000), "", work.position)
    return replace(work, pictures=((picture,),))


def light(work: Slice) -> Slice:
    ((picture,),) = work.pictures
    assert picture.seed == work.position and len(picture.data) == 33_000_000
    return replace(work, pictures=())


def divide_by_zero(work: Slice) -> Slice:
    return replace(work, place=work.position // 0)


def returning(value: StageFunction) -> StageFunction:
    return value


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session(Engine(cpus=2, object_store_gb=0.2)):
        yield


def done(*builds: Callable[[], StageFunction], pool: Pool | None = None) -> list[Slice]:
    stages = [PipelineStage(f"stage {i}", build, pool or Pool()) for i, build in enumerate(builds)]
    return sorted(run_on_ray(stages, SLICES), key=lambda work: work.position)


@pytest.mark.usefixtures("session")
def test_ray_does_what_one_process_does_and_builds_each_worker_once(tmp_path: Path) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    steps = [partial(Step, log) for log in logs]
    found = done(*steps, pool=Pool(workers=2))
    # Of twelve slices; on a busy machine the first worker may be done before the second has begun.
    assert all(log.read_text().count("built") in (1, 2) for log in logs)
    assert found == list(run_here([PipelineStage("", step, Pool()) for step in steps], SLICES))
    assert found[7].counts == {"steps": 2}
    assert found[7].items[0].prompt == "p7\0"


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("build", [refuse, partial(returning, refuse)], ids=["building", "working"])
def test_what_a_worker_refuses_is_said_to_the_user_as_it_was(
    build: Callable[[], StageFunction],
) -> None:
    with pytest.raises(InputError, match=r"^The model is missing\. Give one\.$"):
        done(build)


@pytest.mark.usefixtures("session")
def test_an_error_of_ours_is_not_swallowed() -> None:
    with pytest.raises(Exception, match="ZeroDivisionError"):
        done(partial(returning, divide_by_zero))


@pytest.mark.usefixtures("session")
def test_more_workers_than_the_machine_has_room_for_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="ask for 3 gpus"):
        done(partial(returning, lambda work: work), pool=Pool(workers=3, gpus=1))


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:9"])
def test_a_cluster_that_is_not_there_is_named(address: str) -> None:
    told = rf"No Ray cluster at {address} .*remove engine\.address"
    with pytest.raises(InputError, match=told), ray_session(Engine(address=address)):
        pass


@pytest.mark.usefixtures("session")
def test_a_worker_that_was_killed_is_replaced_and_its_slice_done_again(tmp_path: Path) -> None:
    assert done(partial(die_once, tmp_path / "died")) == SLICES
    assert (tmp_path / "died").exists()


@pytest.mark.usefixtures("session")
def test_a_full_object_store_holds_slices_back_and_loses_none() -> None:
    assert done(partial(returning, heavy), partial(returning, light)) == SLICES


def start(folder: Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "train.data", *DICE, f"out={folder}"]
    return subprocess.Popen(
        line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kill_when(ready: Callable[[], bool], program: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not ready():
        assert program.poll() is None, program.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.005)
    program.send_signal(signal.SIGKILL)
    program.communicate()


def test_a_run_that_is_killed_resumes_and_ends_with_the_same_shards(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    program = start(folder)
    kill_when((folder / "genref_000001.json").exists, program)
    kept = sorted(folder.glob("genref_*.json"))
    assert 2 <= len(kept) < 12  # it was killed in the middle
    before = {file.name: file.stat().st_mtime_ns for file in kept}

    again = start(folder)
    rival = start(folder)
    _, refused = rival.communicate(timeout=300)
    out, error = again.communicate(timeout=300)
    # Whichever came first had the folder to itself.
    codes = sorted((again.returncode, rival.returncode))
    assert codes == [0, 2], (out, error, refused)
    assert "Another process is writing" in (refused if rival.returncode else error)

    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    settings = _settings(whole)
    (whole / PARTS).mkdir(parents=True)
    sources = sources_of(settings)
    begin(settings, sources)
    make(sources, settings, lambda: nullcontext(HERE))
    for file in whole.iterdir():
        if file.name.startswith("genref"):
            assert file.read_bytes() == (folder / file.name).read_bytes(), file.name
    assert not [file for file in folder.rglob("*") if file.suffix == ".tmp"]
    assert not (folder / PARTS).exists()


def _settings(folder: Path) -> DataSettings:
    return settings_of(DataSettings, None, (*DICE, f"out={folder}"))
