"""Runs a function on items and traces each call."""

from __future__ import annotations

import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Work = Callable[[Item], Value]
Build = Callable[[], Work[Item, Value]]


@dataclass(frozen=True, slots=True)
class Trace:
    """The time of a call in seconds, and the peak memory of its process so far in bytes.

    A peak is None if the system does not report it; `cuda` is also None if CUDA was not used.
    """

    seconds: float
    device: str
    resident: int | None
    cuda: int | None


@dataclass(frozen=True, slots=True)
class Traced(Generic[Value]):
    value: Value
    trace: Trace


def traced(work: Work[Item, Value], item: Item) -> Traced[Value]:
    began = time.perf_counter()
    value = work(item)
    trace = Trace(time.perf_counter() - began, device_in_use(), resident_peak(), cuda_peak())
    return Traced(value, trace)


def device_in_use() -> str:
    """The name of the device that this process computes on."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.get_device_name()
    # An available Apple GPU is used only if it is asked for.
    mps = torch.mps if torch is not None and torch.backends.mps.is_available() else None
    if mps is not None and mps.current_allocated_memory():
        return "Apple GPU (mps)"
    return f"CPU ({platform.machine()})"


def resident_peak() -> int | None:
    """The peak memory of this process in bytes, or None if the system does not report it."""
    status = Path("/proc/self/status")
    known = re.search(r"VmHWM:\s+(\d+) kB", status.read_text("utf-8")) if status.exists() else None
    if known:
        return int(known[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cuda_peak() -> int | None:
    """The peak memory in bytes on the GPU with the most allocated; None without CUDA."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))


def summed_up(traces: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Total seconds, devices and highest peaks of recorded traces."""
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


def trace_record(trace: Trace) -> dict[str, Any]:
    return {**asdict(trace), "seconds": round(trace.seconds, 4)}
