"""An index of the samples of a shard, kept next to it: genref_000000.tar.index.

Reading a tar's headers needs a seek per file, which takes minutes over a network. The index is a
safetensors file of arrays, because a million samples as objects would fill each process's memory.
It is made by whoever first reads or writes a shard.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from reflectionflow_core.archive import files
from reflectionflow_core.pictures import PictureError, picture_size
from reflectionflow_core.record import InputError
from reflectionflow_core.texts import TextError, decode_text
from train.prompt_words import digests

SUBSET, PROMPT = "subset.txt", "prompt.txt"
GOOD, FORMATS = "good_image", ("jpg", "jpeg", "png", "webp")
TARGETS = tuple(f"{GOOD}.{form}" for form in FORMATS)  # the first one present is used
VERSION, INDEX = 6, "index"
FILES = 16  # files whose beginnings are compared to tell whether an index belongs to a shard
POINTER = b"version https://git-lfs"
LONGEST = 20_000  # bytes read of a text
LONGEST_END = 2**20  # bytes of zeros at the end of a tar; programs write 1 to 20 kB
ARRAYS = {  # dtypes and dimensions
    "keys": (np.uint8, 1),
    "ends": (np.int64, 1),
    "offsets": (np.int64, 2),
    "sizes": (np.uint32, 2),
    "subsets": (np.uint8, 1),
    "prompts": (np.uint64, 1),
    "widths": (np.uint32, 1),
    "heights": (np.uint32, 1),
}
Places = dict[str, tuple[int, int]]  # offset and size by a file's name within its sample


@dataclass(frozen=True, slots=True, eq=False)
class ShardIndex:
    """The n samples of a shard and m file names; not every sample has every file.

    * `keys`: all keys in UTF-8, each ending at its value in `ends` (n,).
    * `offsets`, `sizes` (n, m): bytes; an offset is -1 if the sample lacks that file.
    * `subsets` (n,): indices into `subset_names`.
    * `prompts` (n,): equal for prompts with the same words; 0: no prompt.
    * `widths`, `heights` (n,): pixels of the good picture, upright; 0 if unreadable.
    * `fault`: why samples of the shard are missing, or "".
    """

    keys: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    subsets: np.ndarray
    prompts: np.ndarray
    widths: np.ndarray
    heights: np.ndarray
    names: tuple[str, ...] = ()
    subset_names: tuple[str, ...] = ()
    fault: str = ""

    def __len__(self) -> int:
        return len(self.ends)

    def key(self, row: int) -> str:
        begin = int(self.ends[row - 1]) if row else 0
        return self.keys[begin : int(self.ends[row])].tobytes().decode("utf-8", "surrogateescape")

    def places(self, row: int) -> Places:
        spans = zip(self.names, self.offsets[row].tolist(), self.sizes[row].tolist(), strict=True)
        return {name: (offset, size) for name, offset, size in spans if offset >= 0}

    def has(self, *names: str) -> np.ndarray:
        """Mask (n,) of the samples that have one of these files."""
        columns = [column for column, name in enumerate(self.names) if name in names]
        return np.asarray((self.offsets[:, columns] >= 0).any(axis=1))


@dataclass(frozen=True, slots=True)
class _Sample:
    key: str
    places: Places = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=lambda: {SUBSET: "", PROMPT: ""})
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # of its good pictures


def index_of(shard: Path) -> ShardIndex:
    """The index next to the shard if it is valid and up to date, otherwise a new one.

    A new index is saved if possible. InputError if the shard does not exist.
    """
    if (kept := _kept(shard)) is not None:
        return kept
    index = walk(shard)
    if not index.fault:
        with suppress(InputError):  # a read-only folder
            keep(shard, index)
    return index


def keep(shard: Path, index: ShardIndex) -> None:
    """Saves the index next to its shard."""
    said = {
        "version": VERSION,
        "shard": _look(shard, index),
        "names": index.names,
        "subsets": index.subset_names,
    }
    arrays = {name: getattr(index, name) for name in ARRAYS}
    # One text: the order of several is undefined in safetensors.
    files.replace_file(_beside(shard), save(arrays, {INDEX: json.dumps(said)}))


def walk(shard: Path) -> ShardIndex:
    """The index from the tar's headers. If a key has a file twice, it counts as two samples."""
    samples: list[_Sample] = []
    latest: dict[str, _Sample] = {}
    fault = ""
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, file = member.name.rpartition("/")
                stem, _, name = file.partition(".")
                key, name = f"{folder}/{stem}" if folder else stem, name.lower()
                if key not in latest or name in latest[key].places:
                    latest[key] = _Sample(key)
                    samples.append(latest[key])
                sample = latest[key]
                sample.places[name] = (member.offset_data, member.size)
                if name in TARGETS and (stream := tar.extractfile(member)):
                    with suppress(PictureError):
                        sample.sizes[name] = picture_size(stream)
                if name in sample.texts and (stream := tar.extractfile(member)):
                    sample.texts[name] = _text(stream.read(LONGEST))
        # tarfile takes a damaged header for the end.
        if samples and not _ends_well(shard, tar.offset):
            fault = _fault(shard)
            samples = samples[:-1]
    except FileNotFoundError as error:
        raise InputError(f"There is no shard {shard}. Check the path.") from error
    except (tarfile.TarError, OSError, EOFError):
        fault = _fault(shard)
        samples = samples[:-1]  # may be incomplete
    return _packed(samples, fault)


def _ends_well(shard: Path, end: int) -> bool:
    """Whether only the zeros of a tar's end follow: some, and not as many as in a download that
    reserved its space and stopped."""
    with shard.open("rb") as file:
        file.seek(end)
        rest = file.read(LONGEST_END + 1)
    return 0 < len(rest) <= LONGEST_END and not rest.strip(b"\0")


def _text(data: bytes) -> str:
    """A text as trainings read it; what they cannot read, or only in part, as far as possible."""
    try:
        return decode_text(data).strip()
    except TextError:
        return data.decode("utf-8", "replace").strip()


def _packed(samples: Sequence[_Sample], fault: str) -> ShardIndex:
    names = tuple(sorted({name for sample in samples for name in sample.places}))
    known = tuple(sorted({sample.texts[SUBSET] for sample in samples}))[:256]
    prompts = [sample.texts[PROMPT] for sample in samples]
    spans = np.full((len(samples), len(names), 2), (-1, 0), np.int64)
    for row, sample in enumerate(samples):
        for name, span in sample.places.items():
            spans[row, names.index(name)] = span
    targets = [next((t for t in TARGETS if t in s.places), "") for s in samples]
    pictures = [s.sizes.get(target, (0, 0)) for s, target in zip(samples, targets, strict=True)]
    widths, heights = np.array(pictures, np.uint32).reshape(-1, 2).T
    keys = [sample.key.encode("utf-8", "surrogateescape") for sample in samples]
    return ShardIndex(
        np.frombuffer(b"".join(keys), np.uint8),
        np.cumsum([len(key) for key in keys], dtype=np.int64),
        np.ascontiguousarray(spans[..., 0]),
        spans[..., 1].astype(np.uint32),
        np.array([_number(known, sample.texts[SUBSET]) for sample in samples], np.uint8),
        digests(prompts),
        np.ascontiguousarray(widths),
        np.ascontiguousarray(heights),
        names,
        known,
        fault,
    )


def _number(known: tuple[str, ...], subset: str) -> int:
    """The subset's number; all subsets after the 256th share the last one."""
    return known.index(subset) if subset in known else len(known) - 1


def _beside(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}.index")


def _kept(shard: Path) -> ShardIndex | None:
    try:
        if _beside(shard).stat().st_mtime_ns < shard.stat().st_mtime_ns:
            return None
        with safe_open(_beside(shard), framework="np") as stored:
            said = json.loads((stored.metadata() or {})[INDEX])
            if said["version"] != VERSION:
                return None
            arrays = {name: stored.get_tensor(name) for name in ARRAYS}
        index = ShardIndex(**arrays, names=(*said["names"],), subset_names=(*said["subsets"],))
        _check(index)
        return index if said["shard"] == _look(shard, index) else None
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RecursionError):
        return None  # falls back to the shard itself


def _check(index: ShardIndex) -> None:
    """ValueError if the arrays do not fit together."""
    count, files_ = len(index), len(index.names)
    for name, (kind, dimensions) in ARRAYS.items():
        array = getattr(index, name)
        if array.dtype != kind or array.ndim != dimensions:
            raise ValueError(f"{name} has another dtype or shape")
        if name != "keys" and array.shape != (count, files_)[:dimensions]:
            raise ValueError(f"{name} has another number of samples")
    within = not count or (
        index.offsets.min(initial=0) >= -1
        and (np.diff(index.ends, prepend=0) >= 0).all()
        and index.ends[-1] == len(index.keys)
        and index.subsets.max() < len(index.subset_names)
    )
    if not within:
        raise ValueError("a number is out of range")


def _look(shard: Path, index: ShardIndex) -> dict[str, Any]:
    """Identifies a shard by its size and the beginnings of some indexed files."""
    starts = np.sort(index.offsets[index.offsets >= 0])
    whole = hashlib.sha256()
    with shard.open("rb") as stream:
        for start in starts[:: max(1, len(starts) // FILES)].tolist():
            stream.seek(max(0, start - tarfile.BLOCKSIZE))
            whole.update(stream.read(2 * tarfile.BLOCKSIZE))  # including the header
    return {"bytes": shard.stat().st_size, "beginnings": whole.hexdigest()}


def _fault(shard: Path) -> str:
    """Why a shard cannot be read to its end."""
    try:
        with shard.open("rb") as stream:
            head = stream.read(tarfile.BLOCKSIZE)
    except OSError:
        return "shard unreadable"
    if head.startswith(POINTER):
        return "shard is a Git LFS pointer"
    return "shard truncated" if not head or _is_header(head) else "shard is not a tar file"


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
