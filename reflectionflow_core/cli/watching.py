"""Shared by all evaluations on the command line: the file, the workers, a progress line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..evaluation.journal import part_of
from ..evaluation.pool import WorkerPool
from ..geneval.folder import unreadable_text
from ..record import InputError
from ..report.words import counted, duration
from ..texts import parse_json
from .interrupt import PausedError
from .outcome import CommandOutcome

REPLACED = (".html", ".jsonl")  # the page, and GenEval's lines
BESIDE = (".html", ".jsonl", ".png", ".part")  # suffixes of files beside the results


def fresh_file(given: Mapping[str, Any]) -> Path:
    """The file for the results; neither it nor a file beside it is overwritten by a new one."""
    if not given.get("out", "").strip():
        raise InputError("There is no file for the results. Give one with --out FILE.")
    file = Path(given["out"])
    if file.is_dir() or not file.name:
        raise InputError(f"{file} is a folder. Give a file, such as {file / 'results.json'}.")
    if file.suffix in BESIDE:
        raise InputError(
            f"{file} would be a file beside the results. Choose a name that ends in .json."
        )
    beside = () if part_of(file).exists() else REPLACED
    for found in (file, *map(file.with_suffix, beside)):
        if found.exists():
            raise InputError(f"{found} exists already. Choose another file, or move it away.")
    return file


def finished(file: Path, text: str) -> CommandOutcome:
    """The outcome of an evaluation whose results are in `file`."""
    page = file.with_suffix(".html")
    summary = parse_json(file.read_bytes())["summary"]
    text = f"{text}\nResults: {file}\nPage:    {page}\n"
    return CommandOutcome(
        text=text, data={"file": str(file), "page": str(page), "summary": summary}, page=page
    )


def pool_of(given: Mapping[str, Any], usual: int | None = None) -> WorkerPool:
    """The workers of the options; by default `usual` processes, or all that Ray can hold."""
    ray = given.get("ray")
    return WorkerPool(given.get("processes", None if ray else usual), ray)


def pool_text(pool: WorkerPool) -> str:
    if pool.ray:
        return f"{counted(pool.count, 'worker') if pool.count else 'all workers'} of Ray"
    return counted(pool.count, "process", "processes") if pool.count else "a process for each core"


def tell_unreadable(unreadable: Mapping[str, str]) -> str:
    """Reports skipped pictures with reasons; returns a sentence for the results, or ""."""
    left_out = unreadable_text(unreadable)
    sys.stderr.write(f"{left_out}\n" if left_out else "")
    return left_out


def watch(
    counts: Iterable[int],
    total: int,
    what: str,
    hours: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Shows how many are done and the time left, on one line of a terminal or in lines of a log.

    Raises PausedError once `hours` have passed, if something was done and something is left.
    """
    live = sys.stderr.isatty()
    pause = 2 if live else 30  # seconds
    began, last, first = clock(), 0.0, None
    try:
        for done in counts:
            first = done if first is None else first
            now = clock()
            if now - last > pause or done == total:
                last = now
                rate = (done - first) / max(now - began, 1e-9)
                left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
                text = f"{done} of {total} {what}{left}"
                sys.stderr.write(f"\r{text}      " if live else f"{text}\n")
                sys.stderr.flush()
            # At least one is done each time, however short the time is.
            if hours is not None and now - began >= hours * 3600 and first < done < total:
                raise PausedError(
                    f"Stopped after {duration(now - began)} with {done} of {total} {what} done and "
                    "kept; give the same command again to continue."
                )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The same command continues with what is missing.") from None
    finally:
        sys.stderr.write("\n" if live else "")
