"""What all evaluations share: a line of progress, who works, and where the numbers come from."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..doctor import versions
from ..evaluation.pool import WorkerPool
from ..record import InputError
from ..report.words import counted, duration

BESIDE = (".html", ".jsonl", ".png", ".part")  # what is written under the name of the results


def fresh_file(given: Mapping[str, Any]) -> Path:
    """Where the results go; a finished evaluation is never written over."""
    if not given["json"].strip():
        raise InputError("The name of the file is empty. Give one after --json.")
    file = Path(given["json"])
    if file.suffix in BESIDE:
        raise InputError(
            f"{file} is a name for what lies beside the results. Choose one that ends in .json."
        )
    if file.exists():
        raise InputError(f"{file} is there already. Choose another file, or move it away.")
    return file


def pool_of(given: Mapping[str, Any], usual: int | None = None) -> WorkerPool:
    """`usual` processes where nothing is said; Ray knows better how many there is room for."""
    ray = given.get("ray")
    return WorkerPool(given.get("processes", None if ray else usual), ray)


def told(pool: WorkerPool) -> str:
    """Who works, in words."""
    if pool.ray:
        return f"{counted(pool.count, 'worker') if pool.count else 'all workers'} of Ray"
    return counted(pool.count, "process", "processes") if pool.count else "a process for each core"


def watch(counts: Iterable[int], total: int, what: str) -> None:
    """Shows how many are done, and when all will be: in one line of a terminal, else in several."""
    live = sys.stderr.isatty()
    pause = 2 if live else 30  # seconds
    began, last, first = time.monotonic(), 0.0, None
    try:
        for done in counts:
            first = done if first is None else first
            now = time.monotonic()
            if now - last > pause or done == total:
                last = now
                rate = (done - first) / max(now - began, 1e-9)
                left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
                text = f"{done} of {total} {what}{left}"
                sys.stderr.write(f"\r{text}      " if live else f"{text}\n")
                sys.stderr.flush()
    finally:
        sys.stderr.write("\n" if live else "")


def provenance(command: str, seed: int | None, cost: Mapping[str, Any]) -> dict[str, Any]:
    """What a number must be printed with; `cost` is of the work, whoever did it."""
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.machine(),
        "seed": seed,
        "versions": versions(),
        "cost": dict(cost),
    }


def in_sentences(known: Mapping[str, Any]) -> list[str]:
    """A provenance for a page."""
    libraries = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    painting = known.get("painting")
    return [
        f"Command: {known['command']}",
        f"Date {known['date']}, seed {known['seed']}, {known['machine']}.",
        *([f"The pictures were painted with {_cost(painting)}."] if painting else []),
        f"This took {_cost(known['cost'])}.",
        f"Versions: {libraries}.",
    ]


def _cost(cost: Mapping[str, Any]) -> str:
    """Counts, seconds of work, devices and peaks of memory in words."""
    spent = [
        f"{cost[name]:,} {name.replace('_', ' ')}"
        for name in ("pictures", "diffusion_steps", "vlm_calls")
        if name in cost
    ]
    peaks = [
        f"{amount / 1e9:.2f} GB {name}"
        for name, amount in cost["peak_memory_bytes"].items()
        if amount is not None
    ]
    devices = ", ".join(cost["devices"])
    return (
        f"{', '.join([*spent, duration(cost['seconds'])])} of work on {devices}, "
        f"at most {' and '.join(peaks) or 'an unknown amount'} of memory in one process"
    )
