"""Who works: in this process, in others, and as Ray's actors; `pytest tests/core/test_pool.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from reflectionflow_core.evaluation.pool import WorkerPool, _process_count, run_all
from reflectionflow_core.evaluation.work import cuda_peak, device_in_use, resident_peak, summed_up
from reflectionflow_core.record import InputError

POOLS = {"here": WorkerPool(1), "processes": WorkerPool(2), "ray": WorkerPool(2, "local")}


def doubling(log: Path) -> Callable[[int], tuple[int, int]]:
    """Work that writes down where it was built."""
    (log / f"{os.getpid()}").touch()
    return double


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def refusing() -> Callable[[int], int]:
    raise InputError("There is no model. Give one.")


def dying() -> Callable[[int], None]:
    return os._exit


def choosy() -> Callable[[int], int]:
    return _choosy


def _choosy(number: int) -> int:
    if number == 2:
        raise InputError("Two is not taken. Give another.")
    return number


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_every_item_is_done_once_by_workers_that_load_once(
    tmp_path: Path, pool: WorkerPool
) -> None:
    done = list(run_all(range(9), partial(doubling, tmp_path), pool))
    assert sorted(one.value[0] for one in done) == [2 * i for i in range(9)]
    workers = {str(one.value[1]) for one in done}
    assert {path.name for path in tmp_path.iterdir()} == workers
    assert len(workers) <= (pool.count or 0)
    assert all(one.trace.seconds >= 0 and one.trace.device.startswith("CPU") for one in done)
    assert all(one.trace.resident > 10**6 for one in done if one.trace.resident)


def test_a_worker_that_is_killed_ends_in_a_sentence() -> None:
    with pytest.raises(InputError, match="Choose fewer with --processes"):
        list(run_all(range(4), dying, WorkerPool(2)))


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_a_users_error_arrives_as_it_was_said(pool: WorkerPool) -> None:
    with pytest.raises(InputError, match=r"^Two is not taken\. Give another\.$"):
        list(run_all(range(40), choosy, pool))


@pytest.mark.parametrize("count", [1, 2])
def test_what_cannot_be_built_says_why(count: int) -> None:
    with pytest.raises(InputError, match=r"^There is no model\. Give one\.$"):
        list(run_all(range(3), refusing, WorkerPool(count)))


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_where_nothing_is_to_do_nothing_is_loaded(tmp_path: Path, pool: WorkerPool) -> None:
    assert list(run_all([], partial(doubling, tmp_path), pool)) == []
    assert not list(tmp_path.iterdir())


def test_items_are_read_as_they_are_needed() -> None:
    read: list[int] = []

    def items():
        for i in range(100):
            read.append(i)
            yield i

    work = run_all(items(), choosy, WorkerPool(1))
    next(work)
    assert read == [0]


def sleeping(log: Path) -> Callable[[float], None]:
    (log / f"{os.getpid()}").touch()
    return time.sleep


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "from core.test_pool import *\n"
        f"list(run_all([60, 60], partial(sleeping, Path({str(tmp_path)!r})), WorkerPool(2)))"
    )
    root = Path(__file__).parents[2]
    paths = os.pathsep.join(map(str, (root, root / "tests")))
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths})
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(Path("/proc", path.name).is_dir() for path in tmp_path.iterdir()))


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_ray_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"No Ray cluster at 127\.0\.0\.1:9"):
        list(run_all(range(2), choosy, WorkerPool(1, "127.0.0.1:9")))


def test_ray_is_asked_for_where_it_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="pip install ray"):
        list(run_all(range(2), choosy, WorkerPool(1, "local")))


def test_memory_is_counted_in_bytes_and_summed_up_by_its_peak() -> None:
    before = resident_peak()
    filled = bytearray(os.urandom(1 << 20) * 64)
    after = resident_peak()
    assert before and after and after >= len(filled) and after < 10**12
    assert cuda_peak() is None or cuda_peak() >= 0  # type: ignore[operator]
    traces = [
        {"seconds": 1.5, "device": "a", "resident": 5, "cuda": None},
        {"seconds": 2.0, "device": "b", "resident": None, "cuda": 7},
    ]
    assert summed_up(traces) == {
        "seconds": 3.5,
        "devices": ["a", "b"],
        "peak_memory_bytes": {"resident": 5, "cuda": 7},
    }


def test_windows_gets_no_more_processes_than_it_can_wait_for(monkeypatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert (_process_count(None), _process_count(2)) == (128, 2)
    monkeypatch.setattr(sys, "platform", "win32")
    assert (_process_count(None), _process_count(100), _process_count(2)) == (61, 61, 2)


def test_an_apple_gpu_is_named_only_where_it_computes(monkeypatch) -> None:
    used = SimpleNamespace(current_allocated_memory=lambda: 0)
    cuda = SimpleNamespace(is_initialized=lambda: False)
    there = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: True))
    torch = SimpleNamespace(cuda=cuda, backends=there, mps=used)
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert device_in_use().startswith("CPU")
    used.current_allocated_memory = lambda: 1
    assert device_in_use() == "Apple GPU (mps)"
