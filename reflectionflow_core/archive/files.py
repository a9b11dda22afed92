"""Files that survive a kill: written completely or not at all, by one process at a time."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..record import InputError
from ..texts import reason_of

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
_REMEDIES = {
    errno.ENOSPC: "Free some space, then resume; what was finished is kept.",
    errno.EDQUOT: "Free some of your quota, then resume; what was finished is kept.",
    errno.EFBIG: "Choose a disk that takes larger files, then resume; what was finished is kept.",
    errno.EACCES: "Choose a folder that you may write to.",
    errno.EPERM: "Choose a folder that you may write to.",
    errno.EROFS: "Choose a folder that you may write to.",
    errno.ENOTDIR: "Choose a folder, not a file.",
    errno.EEXIST: "Choose a folder, not a file.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}
_REMEDIES_OF_READING = {
    **_REMEDIES,
    errno.ENOENT: "Check the name.",
    errno.EISDIR: "Give a file, not a folder.",
    errno.EACCES: "Choose one that you may read.",
    errno.EPERM: "Choose one that you may read.",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError while writing `path` into an InputError that says what to do."""
    try:
        yield
    except OSError as error:
        raise _refusal(f"Cannot write {path}", error, _REMEDIES) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """The same while reading `path` or what is in it."""
    try:
        yield
    except OSError as error:
        # Of a folder that may not be read, what may be in it is nothing to name.
        closed = os.access(path, os.F_OK) and not os.access(path, os.R_OK)
        where = path if closed else error.filename or path
        raise _refusal(f"Cannot read {where}", error, _REMEDIES_OF_READING) from error


def _refusal(what: str, error: OSError, remedies: Mapping[int, str]) -> InputError:
    remedy = remedies.get(error.errno or 0, "Check the disk, or choose another folder.")
    return InputError(f"{what}: {reason_of(error)}. {remedy}")


def replace_file(path: Path, data: bytes) -> None:
    """Replaces a file atomically: a reader sees the old content or the new."""
    with _replacing(path) as temporary:
        _write(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream that replaces the file at the end of the block; for files too large for memory."""
    with _replacing(path) as temporary, temporary.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that replaces `path` at the end of the block."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)


def append(path: Path, data: bytes) -> None:
    """Appends all of `data` or nothing, and returns when it is on the disk."""
    with writing(path):
        size = path.stat().st_size if path.exists() else 0
        try:
            _write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, data)
        except BaseException:
            with suppress(OSError):
                os.truncate(path, size)
            raise


def truncate(path: Path, size: int) -> None:
    with writing(path):
        os.truncate(path, size)


def remove(path: Path) -> None:
    """Removes a file, if it is there."""
    with writing(path):
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def sweep(folder: Path, name: str) -> None:
    """Removes temporary files that a killed process left of files named `name` (a pattern)."""
    for leftover in folder.glob(f".{name}.*.tmp"):
        with writing(leftover):
            leftover.unlink()


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Locks a folder, or a file in an existing folder, for this process; the system releases it
    when the process ends. Raises InputError if another process has it."""
    path = target / LOCK if target.is_dir() else target.with_name(f".{target.name}{LOCK}")
    with writing(path):
        descriptor = _lock(path, target)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove an open file; an unlocked one is harmless
            path.unlink()
        os.close(descriptor)


def _lock(path: Path, target: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(descriptor)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            raise InputError(
                f"Another process is writing to {target}. "
                f"Wait until it ends, or choose another {'folder' if target.is_dir() else 'file'}."
            ) from None
        if _is_open(path, descriptor):
            return descriptor
        os.close(descriptor)  # another process removed it between our open and our lock


def _take(descriptor: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_open(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write(path: Path, flags: int, data: bytes) -> None:
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of `data`; one os.write may write less."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    if sys.platform != "win32":  # where a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
