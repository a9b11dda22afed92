"""Folders that are written atomically: complete or not present at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from reflectionflow_core.archive.files import make_folder, writing
from reflectionflow_core.flux.folders import first_line
from reflectionflow_core.record import InputError

PART = ".part"  # prefix of incomplete folders
# Words of the plain RuntimeErrors that torch raises when it cannot write: its writer of weights,
# and its file of an optimiser's state.
UNWRITTEN = ("PytorchStreamWriter", "inline_container", "iostream error")


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A context with a temporary folder that is renamed to `folder` once it is complete on disk.

    An older folder of that name exists until then. InputError if the disk is full.
    """
    part = folder.with_name(f"{PART}-{folder.name}")
    shutil.rmtree(part, ignore_errors=True)
    make_folder(part)
    try:
        with explained(folder):
            yield part
            publish(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def publish(part: Path, folder: Path) -> None:
    """Renames a finished folder to its final name."""
    for file in part.rglob("*"):
        if file.is_file():
            with file.open("r+b") as stream:  # Windows syncs no file that is only read
                os.fsync(stream.fileno())
    old = _set_aside(folder)
    part.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def remove(folder: Path) -> None:
    """Removes a folder atomically."""
    shutil.rmtree(_set_aside(folder), ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    old = folder.with_name(f"{PART}-old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.replace(old)
    return old


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """A context that turns any error about a full disk into InputError."""
    try:
        with writing(folder):
            yield
    except (SafetensorError, RuntimeError) as error:
        unwritten = any(word in str(error) for word in UNWRITTEN)
        if isinstance(error, RuntimeError) and not unwritten:
            raise
        # torch's own words name a line of its code, not the disk.
        reason = "the disk is probably full." if unwritten else first_line(error)
        raise InputError(
            f"Cannot write {folder}: {reason} Free some space, then start again: "
            "the run resumes from its last checkpoint."
        ) from error
