"""A piece of work, and what it took."""

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


def traced(work: Work[Item, Value], item: Item) -> Done[Value]:
    began = time.perf_counter()
    value = work(item)
    trace = Trace(time.perf_counter() - began, device_in_use(), resident_peak(), cuda_peak())
    return Done(value, trace)


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
