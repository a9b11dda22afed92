"""Samples of all trainings: a good picture, a flawed one and a reflection that leads to the good
one.

Shards are WebDataset tar files with the keys of GenRef-wds, our own and the published ones.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image as Picture

from reflectionflow_core.pictures import PictureError, read_picture
from reflectionflow_core.texts import TextError, checked_text, decode_text, parse_json
from train.shard_index import FORMATS, GOOD, PROMPT, SUBSET, ShardIndex, index_of
from train.skipped import Skipped

CHAT, PICTURE = "chat.json", "picture"  # file of a question with its answer
CHATS = "chats"  # name of such samples in counts
SUBSETS = ("general", "length", "rule", "editing")
BAD, REFLECTION, METADATA = "bad_image", "reflection.txt", "told.json"
SIBLING = "~"  # precedes the number of a sample that shares its flawed picture
MAX_TEXT = 20_000  # longest prompt or reflection in characters


def sibling_group(key: str) -> str:
    """The common part of siblings' keys (same flawed picture); other keys unchanged."""
    group, sign, number = key.rpartition(SIBLING)
    return group if sign and number.isdecimal() else key


class SampleError(Exception):
    """A sample cannot be used. The message is the reason, worded the same for all samples."""


@dataclass(frozen=True, slots=True, eq=False)
class Triplet:
    """A sample of GenRef (paper §3.2): following `reflection` turns `bad` into `good`.

    `subset` is one of SUBSETS; `metadata` has further facts, such as scores and seeds.
    """

    key: str
    good: Picture
    bad: Picture
    prompt: str
    reflection: str
    subset: str = "rule"
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edit:
    """A picture before and after an edit, the instruction, and a caption of the edited picture."""

    source: Picture
    edited: Picture
    instruction: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class TripletEntry:
    """Offset and size within the shard of each file of a sample."""

    shard: Path
    key: str
    subset: str
    files: Mapping[str, tuple[int, int]]


class TripletEntries(Sequence[TripletEntry]):
    """The complete samples of some shards; others are counted in `skipped`, by reason.

    Entries are created on access: a million objects would take a gigabyte. `subsets` (n,) are
    indices into SUBSETS; `prompts` (n,) are equal for prompts with the same words.
    """

    def __init__(self, shards: Iterable[Path], skipped: Skipped) -> None:
        self.parts = [(shard, index_of(shard)) for shard in shards]
        self.rows = [_whole_rows(shard, index, skipped) for shard, index in self.parts]
        self.ends = np.cumsum([len(rows) for rows in self.rows], dtype=np.int64)
        nothing = [np.empty(0, np.uint64)]
        chosen = [(index, rows) for (_, index), rows in zip(self.parts, self.rows, strict=True)]
        self.subsets = np.concatenate(
            [np.empty(0, np.uint8), *(_subset_numbers(i)[rows] for i, rows in chosen)]
        )
        self.prompts = np.concatenate(nothing + [i.prompts[rows] for i, rows in chosen])

    def __len__(self) -> int:
        return len(self.subsets)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        part = int(np.searchsorted(self.ends, index, "right"))
        before = int(self.ends[part - 1]) if part else 0
        (shard, found), row = self.parts[part], int(self.rows[part][index - before])
        subset = SUBSETS[self.subsets[index]]
        return TripletEntry(shard, found.key(row), subset, found.places(row))

    def sizes(self) -> np.ndarray:
        """Widths and heights (2, n) of the good pictures in pixels, upright; 0 if unreadable."""
        parts = [
            np.stack([index.widths[rows], index.heights[rows]])
            for (_, index), rows in zip(self.parts, self.rows, strict=True)
        ]
        return np.concatenate([np.empty((2, 0), np.uint32), *parts], axis=1)

    def digest(self) -> str:
        """SHA-256 of all samples' keys, prompts and places in their shards, wherever these are."""
        whole = hashlib.sha256()
        for (_, index), rows in zip(self.parts, self.rows, strict=True):
            for array in (index.keys, index.prompts, index.offsets, index.sizes, rows):
                whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()

    def groups(self) -> np.ndarray:
        """Numbers (n,), equal for siblings; siblings are in one folder."""
        groups = np.arange(len(self))
        known: dict[tuple[Path, str], int] = {}
        for part, (shard, index) in enumerate(self.parts):
            if SIBLING.encode() not in index.keys.tobytes():
                continue
            before = int(self.ends[part - 1]) if part else 0
            for place, row in enumerate(self.rows[part].tolist(), before):
                key = index.key(row)
                if (group := sibling_group(key)) != key:
                    groups[place] = known.setdefault((shard.parent, group), place)
        return groups


def _whole_rows(shard: Path, index: ShardIndex, skipped: Skipped) -> np.ndarray:
    """The rows of usable samples."""
    if index.fault:
        skipped.add(index.fault, str(shard))
    others = index.has(CHAT)
    whole = index.has(REFLECTION) & index.has(PROMPT) & index.has(SUBSET)
    for name in (GOOD, BAD):
        whole &= index.has(*(f"{name}.{form}" for form in FORMATS))
    known = _subset_numbers(index) < len(SUBSETS)
    for reason, count in (
        ("file of a sample missing", (~whole & ~others).sum()),
        ("unknown subset", (whole & ~known).sum()),
    ):
        skipped.update({reason: int(count)} if count else {})
    return np.flatnonzero(whole & known)


def _subset_numbers(index: ShardIndex) -> np.ndarray:
    """Indices (n,) into SUBSETS; one more than the last for unknown subsets."""
    numbers = [SUBSETS.index(s) if s in SUBSETS else len(SUBSETS) for s in index.subset_names]
    return np.array(numbers, np.uint8)[index.subsets]


class Triplets(Sequence[Triplet]):
    """The samples of some shards by number, read on access.

    `triplets[i]` raises SampleError if a picture or text cannot be used. Incomplete samples and
    truncated shards are counted in `skipped`, by reason; complete samples of a truncated shard are
    used.
    """

    def __init__(self, shards: Iterable[Path]) -> None:
        self.skipped = Skipped()
        self.entries = TripletEntries(shards, self.skipped)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [read(entry) for entry in self.entries[index]]
        return read(self.entries[index])

    def prompt(self, index: int) -> str:
        """The prompt of a sample without reading its pictures; "" if unreadable."""
        return self._one_text(index, PROMPT)

    def reflection(self, index: int) -> str:
        """The reflection of a sample without reading its pictures; "" if unreadable."""
        return self._one_text(index, REFLECTION)

    def _one_text(self, index: int, name: str) -> str:
        entry = self.entries[index]
        try:
            with entry.shard.open("rb") as stream:
                return _text(_bytes(stream, *entry.files[name]))
        except (OSError, SampleError):
            return ""


def read(entry: TripletEntry) -> Triplet:
    """The sample of an entry; raises SampleError."""
    parts = read_files(entry.shard, entry.files)
    return Triplet(
        entry.key,
        opened(parts[_picture(parts, GOOD)]),
        opened(parts[_picture(parts, BAD)]),
        _text(parts[PROMPT]),
        _text(parts[REFLECTION]),
        entry.subset,
        _json(parts.get(METADATA, b"{}")),
    )


def read_files(shard: Path, places: Mapping[str, tuple[int, int]]) -> dict[str, bytes]:
    """Files at these places in a shard; raises SampleError."""
    try:
        with shard.open("rb") as stream:
            return {name: _bytes(stream, *where) for name, where in places.items()}
    except OSError as error:
        raise SampleError("shard unreadable") from error


def files_of(triplet: Triplet, image_format: str = "jpg") -> dict[str, bytes | str]:
    """A sample's files for WebDataset, without its key; "png" is lossless."""
    parts: dict[str, bytes | str] = {
        f"{GOOD}.{image_format}": encoded(triplet.good, image_format),
        f"{BAD}.{image_format}": encoded(triplet.bad, image_format),
        REFLECTION: triplet.reflection,
        PROMPT: triplet.prompt,
        SUBSET: triplet.subset,
    }
    if triplet.metadata:
        parts[METADATA] = json.dumps(dict(triplet.metadata), sort_keys=True)
    return parts


def _picture(files: Mapping[str, Any], name: str) -> str:
    """The name of the file with that picture, or nothing."""
    return next((f"{name}.{form}" for form in FORMATS if f"{name}.{form}" in files), "")


def _bytes(stream: io.BufferedReader, offset: int, size: int) -> bytes:
    stream.seek(offset)
    data = stream.read(size)
    if len(data) < size:
        raise SampleError("shard truncated")
    return data


def opened(data: bytes) -> Picture:
    """The picture in a file's bytes, upright and in RGB; raises SampleError if it is incomplete."""
    try:
        return read_picture(data)
    except PictureError as error:
        raise SampleError("picture unreadable") from error


def open_picture(file: Path) -> Picture:
    """The picture of a file, as `opened` returns it; raises SampleError."""
    try:
        return opened(file.read_bytes())
    except FileNotFoundError as error:
        raise SampleError("picture missing") from error
    except (OSError, ValueError) as error:  # ValueError: an invalid path
        raise SampleError("picture unreadable") from error


def usable_text(text: str) -> str:
    """The text as `checked_text` returns it; raises SampleError."""
    try:
        return checked_text(text)
    except TextError as error:
        raise SampleError("text unusable") from error


def _text(data: bytes) -> str:
    try:
        text = decode_text(data).strip()
    except TextError as error:
        raise SampleError("text unusable") from error
    if len(text) > MAX_TEXT:
        raise SampleError("text too long")
    return text


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        metadata = parse_json(data)
    except ValueError as error:
        raise SampleError("told.json unreadable") from error
    return metadata if isinstance(metadata, dict) else {}


def encoded(image: Picture, image_format: str) -> bytes:
    """A picture as file bytes; equal pixels give equal bytes."""
    buffer = io.BytesIO()
    if image_format in ("jpg", "jpeg"):
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        image.save(buffer, image_format.upper())
    return buffer.getvalue()
