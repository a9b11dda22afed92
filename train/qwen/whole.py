"""Folders that are there whole or not at all, whatever kills the program that writes them."""

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

PART = ".part"  # prefix of folders that are not whole yet; a killed program leaves them


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to write into; it takes the name `folder` when all of it is on the disk.

    An older folder of that name is there until then. Raises InputError where the disk is full.
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
    """Gives a finished folder its name."""
    for file in part.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    old = _set_aside(folder)
    part.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def remove(folder: Path) -> None:
    """Removes a folder, so that nobody sees half of it."""
    shutil.rmtree(_set_aside(folder), ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    old = folder.with_name(f"{PART}-old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.replace(old)
    return old


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """What torch, safetensors and the system say of a full disk, as an InputError."""
    try:
        with writing(folder):
            yield
    except (SafetensorError, RuntimeError) as error:
        # torch's writer raises a plain RuntimeError.
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise
        raise InputError(
            f"Cannot write {folder}: {first_line(error)} Free some space, then start again: "
            "the run resumes from its last checkpoint."
        ) from error
