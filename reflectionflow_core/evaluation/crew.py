"""Many pieces of work on every core, or on all machines of a Ray cluster; knows not what they do.

What work needs is loaded once for each worker. Finished work comes back in any order, with what it
took.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Work = Callable[[Item], Value]
Build = Callable[[], Work[Item, Value]]

AHEAD = 8  # pieces that wait for each process, so that none is ever idle


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works: `count` processes of this machine, or as many actors of the Ray at an address.

    None is one for each core, and one for each GPU of a cluster that has any. The address "local"
    starts a Ray on this machine.
    """

    count: int | None = None
    ray: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What a piece of work took, and the most memory in bytes that its process had held by then.

    None where the system does not say, and for CUDA where it was not used.
    """

    seconds: float
    device: str
    resident: int | None
    cuda: int | None


@dataclass(frozen=True, slots=True)
class Done(Generic[Value]):
    value: Value
    trace: Trace


def run_all(items: Iterable[Item], build: Build[Item, Value], crew: Crew) -> Iterator[Done[Value]]:
    """What becomes of each item; `build` makes the work once for every worker."""
    if crew.ray is not None:
        from .cluster import run_on_ray

        yield from run_on_ray(items, build, crew)
    elif crew.count == 1:
        work = None
        for item in items:  # where nothing is to do, nothing is loaded
            work = work or build()
            yield traced(work, item)
    else:
        yield from _run_in_processes(items, build, crew.count or os.cpu_count() or 1)


def traced(work: Work[Item, Value], item: Item) -> Done[Value]:
    began = time.perf_counter()
    value = work(item)
    trace = Trace(time.perf_counter() - began, device_in_use(), resident_peak(), cuda_peak())
    return Done(value, trace)


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
    _BUILDS.append(build)


def _work(item: Any) -> Done[Any]:
    if not _WORKS:  # not in the initializer, whose errors nobody gets to see
        _WORKS.append(_BUILDS[0]())
    return traced(_WORKS[0], item)


def device_in_use() -> str:
    """The device that this process has computed on."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.get_device_name()
    if torch is not None and torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    return f"CPU ({platform.machine()})"


def resident_peak() -> int | None:
    """Bytes of memory that this process has held at most."""
    status = Path("/proc/self/status")
    known = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if known:
        return int(known[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cuda_peak() -> int | None:
    """Bytes of the fullest GPU that this process has had allocated at most."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))


def summed_up(traces: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of traces as they are written: all seconds of work, the devices, the highest peaks."""
    known = list(traces)
    peaks = {
        name: max((trace[name] for trace in known if trace[name] is not None), default=None)
        for name in ("resident", "cuda")
    }
    return {
        "seconds": round(sum(trace["seconds"] for trace in known), 3),
        "devices": sorted({trace["device"] for trace in known}),
        "peak_memory_bytes": peaks,
    }


def written(trace: Trace) -> dict[str, Any]:
    return {**asdict(trace), "seconds": round(trace.seconds, 4)}
