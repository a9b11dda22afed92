"""Many pieces of work on every core, or on all machines of a Ray cluster; knows not what they do.

What work needs is loaded once for each worker. Finished work comes back in any order, with what it
took.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from .cluster import run_on_ray
from .work import Build, Done, Item, Value, Work, traced

AHEAD = 8  # pieces that wait for each process, so that none is ever idle


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works: `count` processes of this machine, or as many actors of the Ray at an address.

    None is one for each core, and one for each GPU of a cluster that has any. The address "local"
    starts a Ray on this machine.
    """

    count: int | None = None
    ray: str | None = None


def run_all(items: Iterable[Item], build: Build[Item, Value], crew: Crew) -> Iterator[Done[Value]]:
    """What becomes of each item; `build` makes the work once for every worker."""
    if crew.ray is not None:
        yield from run_on_ray(items, build, crew.ray, crew.count)
    elif crew.count == 1:
        work = None
        for item in items:  # where nothing is to do, nothing is loaded
            work = work or build()
            yield traced(work, item)
    else:
        yield from _run_in_processes(items, build, crew.count or os.cpu_count() or 1)


def _run_in_processes(
    items: Iterable[Item], build: Build[Item, Value], processes: int
) -> Iterator[Done[Value]]:
    waiting, spawn = iter(items), get_context("spawn")
    with (
        _one_thread_each(),
        ProcessPoolExecutor(processes, spawn, initializer=_begin, initargs=(build,)) as pool,
    ):
        running = {pool.submit(_work, item) for item in islice(waiting, AHEAD * processes)}
        try:
            while running:
                finished = next(as_completed(running))
                running.discard(finished)
                running |= {pool.submit(_work, item) for item in islice(waiting, 1)}
                yield finished.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _one_thread_each:  # noqa: N801  (a context manager)
    """Two threads on two busy cores wait for each other more than they work."""

    def __enter__(self) -> None:
        self.before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"  # read by a new process as it starts

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = self.before


_BUILDS: list[Build[Any, Any]] = []  # of this process
_WORKS: list[Work[Any, Any]] = []


def _begin(build: Build[Any, Any]) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    _BUILDS.append(build)


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever, with its models in memory."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _work(item: Any) -> Done[Any]:
    if not _WORKS:  # not in the initializer, whose errors nobody gets to see
        _WORKS.append(_BUILDS[0]())
    return traced(_WORKS[0], item)
