"""The shards that a text names, each as an uncompressed tar file on this machine.

Trainings draw samples in random order. A remote or compressed shard is therefore copied once,
uncompressed, into a cache; upstream reads the same names as streams.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from reflectionflow_core.archive import files
from reflectionflow_core.flux.folders import first_line
from reflectionflow_core.record import InputError

CACHE = "REFLECTIONFLOW_CACHE"  # environment variable: the cache folder
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
REMOTE = re.compile(r"^(pipe:|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
UNPACKERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"\xfd7zXZ": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
ZSTANDARD = b"\x28\xb5\x2f\xfd"
BROKEN_OFF = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
RUN, MANIFEST = "run.json", "manifest.json"  # what train.data writes first and last
HEAD = 6  # first bytes of compressed files
BLOCK = 1 << 20


def shards_in(where: str | Path, fetch: bool = True) -> list[Path]:
    """The shards that `where` names, as uncompressed tar files.

    `where` is a folder, a file, a pattern such as "data/genref_*.tar", a URL, or "pipe:" and a
    command. "{0..208}" stands for each number in turn, and "::" separates several names. Copies of
    compressed and remote shards are kept in the folder given by REFLECTIONFLOW_CACHE, by default
    ~/.cache/reflectionflow. InputError if a name has no shards, if a URL or command gives none,
    and, without `fetch`, if a copy is missing.
    """
    if _exists(where):
        return [_plain(shard) for shard in _local(str(where))]
    from webdataset.shardlists import expand_urls  # it imports torch

    try:
        names = list(dict.fromkeys(expand_urls(str(where))))
    except ValueError as error:
        raise InputError(f"{error}. Close each brace in the name of the shards.") from error
    remote = [name for name in names if REMOTE.match(name)]
    found: list[Path] = []
    for name in names:
        if REMOTE.match(name):
            found.append(_fetched(name, remote.index(name) + 1, len(remote), fetch))
        else:
            found += [_plain(shard) for shard in _local(name)]
    return list(dict.fromkeys(found))


def _exists(where: str | Path) -> bool:
    try:
        return Path(where).expanduser().exists()
    except OSError:  # a list that is too long for a path
        return False


def are_here(where: str) -> bool:
    """Whether all shards that `where` names are on this machine, without fetching any."""
    try:
        return bool(shards_in(where, fetch=False))
    except InputError:
        return False


def matching(pattern: str | Path) -> list[Path]:
    """The paths that match a pattern, which may have wildcards in every part; sorted."""
    path = Path(pattern).expanduser()
    top = Path(path.anchor)
    return sorted(top.glob(str(path.relative_to(top)))) if path.name else []


def _local(name: str) -> list[Path]:
    path = Path(name).expanduser()
    with files.reading(path):
        if path.is_file():
            return [path]
        if path.is_dir():
            shards = [file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES)]
        else:
            shards = matching(path)
        # Hidden ones are what macOS puts beside files.
        shards = sorted(file for file in shards if file.is_file() and not file.name.startswith("."))
    if not shards:
        raise InputError(
            f"There are no shards in {name}. Give a folder with .tar files, a pattern of their "
            'names, or an address with "{0..208}" for each number.'
        )
    for folder in dict.fromkeys(shard.parent for shard in shards):
        _tell_if_unfinished(folder)
    return shards


@cache
def _tell_if_unfinished(folder: Path) -> None:
    """Says once that train.data has not finished a folder."""
    unfinished = (folder / RUN).is_file() and not (folder / MANIFEST).is_file()
    if unfinished and os.environ.get("RANK", "0") == "0":
        sys.stderr.write(
            f"train.data has not finished {folder}, so samples are missing. Type its command again "
            "to make the rest.\n"
        )


def _plain(shard: Path) -> Path:
    """The shard itself, or its uncompressed copy."""
    with files.reading(shard):
        with shard.open("rb") as stream:
            head = stream.read(HEAD)
        stat = shard.stat()
    if not _packing(head, str(shard)):
        return shard
    version = f"{shard.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return _copied(lambda: shard.open("rb"), version, str(shard))


def _fetched(name: str, number: int, of: int, fetch: bool) -> Path:
    if not fetch and not _place(name, name).is_file():
        raise InputError(f"{name} is not on this machine yet. A training will fetch it.")

    def opened() -> Any:
        from webdataset.gopen import gopen  # it imports torch

        sys.stderr.write(f"Fetching shard {number} of {of}: {name}\n")
        return gopen(name)

    return _copied(opened, name, name)


def _copied(opened: Callable[[], Any], version: str, name: str) -> Path:
    """The cached copy of this version of a shard, written by the first process that needs it."""
    target = _place(version, name)
    if target.is_file():  # also in a cache that may only be read
        return target
    files.make_folder(target.parent)
    with files.writing(target), FileLock(f"{target}.lock"):
        if not target.is_file():
            with files.replacing(target) as to:
                for block in _blocks(opened, name):
                    to.write(block)
    return target


def _place(version: str, name: str) -> Path:
    folder = Path(os.environ.get(CACHE) or "~/.cache/reflectionflow").expanduser() / "shards"
    last = re.sub(r"[^\w.-]", "_", name.rstrip("/").rpartition("/")[2])[-60:]
    return folder / f"{hashlib.sha256(version.encode()).hexdigest()[:16]}-{last}.tar"


def _blocks(opened: Callable[[], Any], name: str) -> Iterator[bytes]:
    """The uncompressed content of a stream; a truncated stream ends early."""
    with _explained(name):
        stream = opened()
        try:
            head = stream.read(HEAD)
            if not head:
                raise OSError("it is empty")
            more = _Behind(head, stream).read
            if magic := _packing(head, name):
                # read1 returns what is available before a truncated stream fails.
                more = UNPACKERS[magic](_Behind(head, stream)).read1
            with suppress(*BROKEN_OFF):
                while block := more(BLOCK):
                    yield block
        finally:
            stream.close()  # raises if a command failed


def _packing(head: bytes, name: str) -> bytes:
    """The first bytes that identify a compressed file, or nothing."""
    if head.startswith(ZSTANDARD):
        raise InputError(f"{name} is compressed with zstd. Unpack it with: zstd -d FILE")
    return next((magic for magic in UNPACKERS if head.startswith(magic)), b"")


class _Behind:
    """A stream with bytes that were already read put back in front."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self.head, self.stream = head, stream

    def read(self, size: int = -1) -> bytes:
        if not self.head:
            return self.stream.read(size)
        end = len(self.head) if size < 0 else size
        head, self.head = self.head[:end], self.head[end:]
        return head


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # libraries of remote storage have errors of their own
        ended = re.search(r"exit (-?\d+)", str(error))  # webdataset's message for a failed command
        reason = f"The command ended with status {ended[1]}." if ended else first_line(error)
        raise InputError(
            f"{name} could not be read. {reason} Check it, or download the shards and give their "
            "folder."
        ) from error
