"""Runs a function on many items, on all cores or on all machines of a Ray cluster.

Each worker loads what the function needs once. Results are returned in any order, with traces.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from ..record import InputError
from .cluster import run_on_ray
from .work import Build, Item, Traced, Value, Work, traced

QUEUED_PER_WORKER = 8  # items queued per process, so that it is never idle
MOST_ON_WINDOWS = 61  # processes that Python can wait for there


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """`count` processes on this machine, or `count` Ray actors on the cluster at address `ray`.

    A count of None means one per core, or one per GPU if the cluster has GPUs. The address "local"
    starts Ray on this machine.
    """

    count: int | None = None
    ray: str | None = None


def run_all(
    items: Iterable[Item], build: Build[Item, Value], pool: WorkerPool
) -> Iterator[Traced[Value]]:
    """The result of each item; `build` makes the function once in each worker."""
    if pool.ray is not None:
        yield from run_on_ray(items, build, pool.ray, pool.count)
    elif pool.count == 1:
        work = None
        for item in items:  # avoids loading without items
            work = work or build()
            yield traced(work, item)
    else:
        yield from _run_in_processes(items, build, _process_count(pool.count))


def _process_count(wanted: int | None) -> int:
    """The number of processes, by default one per core."""
    count = wanted or os.cpu_count() or 1
    return min(count, MOST_ON_WINDOWS) if sys.platform == "win32" else count


def _run_in_processes(
    items: Iterable[Item], build: Build[Item, Value], processes: int
) -> Iterator[Traced[Value]]:
    waiting, spawn = iter(items), get_context("spawn")
    with (
        _single_threaded_children(),
        ProcessPoolExecutor(
            processes, spawn, initializer=_start_worker, initargs=(build,)
        ) as executor,
    ):
        running = {
            executor.submit(_work, item) for item in islice(waiting, QUEUED_PER_WORKER * processes)
        }
        try:
            while running:
                finished = next(as_completed(running))
                running.discard(finished)
                running |= {executor.submit(_work, item) for item in islice(waiting, 1)}
                yield finished.result()
        except BrokenProcessPool as error:
            raise InputError(
                "A worker process was ended from outside, as a system does that runs out of "
                "memory. Choose fewer with --processes, then repeat the command to continue."
            ) from error
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """A context in which child processes use one torch thread each, which is faster together."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read by new processes
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


_BUILDS: list[Build[Any, Any]] = []  # this process keeps its own
_WORKS: list[Work[Any, Any]] = []


def _start_worker(build: Build[Any, Any]) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    _BUILDS.append(build)


def _end_with_parent() -> None:
    """Ends a worker when its parent is killed; otherwise it would keep its models in memory."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _work(item: Any) -> Traced[Any]:
    if not _WORKS:  # not in the initializer: its errors would be lost
        _WORKS.append(_BUILDS[0]())
    return traced(_WORKS[0], item)
