"""Where the files of each sample lie in a shard, kept beside it: genref_000000.tar.index.

To walk a tar's headers is a seek for each file, which takes minutes over a network for shards of
many gigabytes. The index is JSON and is made by whoever walks a shard first, or writes it.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError

SUBSET = "subset.txt"
VERSION = 1
HEADERS = 16  # so many are compared to tell whether an index is that of a shard
POINTER = b"version https://git-lfs"
Places = dict[str, tuple[int, int]]  # offset and size by a file's name within its sample


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The places of all samples of a shard by their keys, and their subsets.

    `fault` is why some samples of the shard are missing, "" where none is.
    """

    places: Mapping[str, Places]
    subsets: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


def index_of(shard: Path) -> ShardIndex:
    """The index beside the shard if it fits, else a new one, which is kept where that is possible.

    Raises InputError for a shard that is not there.
    """
    if (kept := _kept(shard)) is not None:
        return kept
    index = walk(shard)
    if not index.fault:
        with suppress(InputError):  # of a folder that may only be read
            keep(shard, index)
    return index


def keep(shard: Path, index: ShardIndex) -> None:
    """Writes the index beside its shard."""
    said = {"version": VERSION, "shard": _look(shard, index), **asdict(index)}
    files.replace_file(_beside(shard), json.dumps(said, sort_keys=True).encode() + b"\n")


def walk(shard: Path) -> ShardIndex:
    """The index as the headers of the tar say it."""
    places: dict[str, Places] = {}
    subsets: dict[str, str] = {}
    fault = ""
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, file = member.name.rpartition("/")
                stem, _, name = file.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                places.setdefault(key, {})[name.lower()] = (member.offset_data, member.size)
                if name.lower() == SUBSET and (stream := tar.extractfile(member)):
                    subsets[key] = stream.read(100).decode("utf-8", "replace").strip()
    except FileNotFoundError as error:
        raise InputError(f"There is no shard {shard}. Check the path.") from error
    except (tarfile.TarError, OSError, EOFError):
        fault = "shard is a Git LFS pointer" if _is_pointer(shard) else "shard broken off"
        if places:
            places.popitem()  # its last sample may be incomplete
    return ShardIndex(places, subsets, fault)


def _beside(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}.index")


def _kept(shard: Path) -> ShardIndex | None:
    try:
        said = json.loads(_beside(shard).read_bytes())
        if said["version"] != VERSION:
            return None
        places = {
            key: {name: _place(where) for name, where in found.items()}
            for key, found in said["places"].items()
        }
        subsets = {key: str(subset) for key, subset in said["subsets"].items()}
        index = ShardIndex(places, subsets)
        return index if said["shard"] == _look(shard, index) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # then the shard itself is asked


def _place(where: Any) -> tuple[int, int]:
    offset, size = where
    if not isinstance(offset, int) or not isinstance(size, int) or min(offset, size) < 0:
        raise ValueError("a place is two numbers of bytes")
    return offset, size


def _look(shard: Path, index: ShardIndex) -> dict[str, Any]:
    """By what a shard is known again: its size and some of the headers that the index names."""
    starts = sorted(place for found in index.places.values() for place, _ in found.values())
    whole = hashlib.sha256()
    with shard.open("rb") as stream:
        for start in starts[:: max(1, len(starts) // HEADERS)]:
            stream.seek(max(0, start - tarfile.BLOCKSIZE))
            whole.update(stream.read(tarfile.BLOCKSIZE))
    return {"bytes": shard.stat().st_size, "headers": whole.hexdigest()}


def _is_pointer(shard: Path) -> bool:
    try:
        with shard.open("rb") as stream:
            return stream.read(len(POINTER)) == POINTER
    except OSError:
        return False
