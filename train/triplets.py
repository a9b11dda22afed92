"""What all trainings learn from: a good picture, a flawed one, and what should change.

Shards are WebDataset tar files with the keys of GenRef-wds, ours and the published ones alike.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL.Image import Image as Picture

from reflectionflow_core.pictures import PictureError, picture_size, read_picture
from reflectionflow_core.texts import TextError, checked_text, decode_text, parse_json
from train.shard_index import SUBSET, index_of

SUBSETS = ("general", "length", "rule", "editing")
GOOD, BAD, REFLECTION, PROMPT, METADATA = (
    "good_image",
    "bad_image",
    "reflection.txt",
    "prompt.txt",
    "told.json",
)
SIBLING = "~"  # before the number of a sample that shares its flawed picture with others
FORMATS = ("jpg", "jpeg", "png", "webp")
MAX_TEXT = 20_000  # characters of a prompt or reflection; more is a mistake


def sibling_group(key: str) -> str:
    """What the keys of siblings have in common, samples that show the same flawed picture; any
    other sample's key is returned as it is."""
    group, sign, number = key.rpartition(SIBLING)
    return group if sign and number.isdecimal() else key


class SampleError(Exception):
    """A sample that cannot be used; the message is the reason, the same for all of its kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Triplet:
    """A sample of GenRef (paper §3.2): `bad` becomes `good` if `reflection` is followed.

    `subset` is one of SUBSETS; `metadata` is what else is known, such as scores and seeds.
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
    """A picture before and after an edit, the instruction, and a caption of the edited one."""

    source: Picture
    edited: Picture
    instruction: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class TripletEntry:
    """Where a sample is stored: for each of its files the offset and size within its shard."""

    shard: Path
    key: str
    subset: str
    files: Mapping[str, tuple[int, int]]


class Triplets(Sequence[Triplet]):
    """All samples of some shards by number; a sample is read when it is asked for.

    `triplets[i]` raises SampleError where picture or text cannot be used. Samples that lack a file
    and truncated shards are counted in `skipped`, by reason; whole samples of a truncated shard are
    kept.
    """

    def __init__(self, shards: Iterable[Path]) -> None:
        self.skipped: Counter[str] = Counter()
        self.entries = [entry for shard in shards for entry in self._index(shard)]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [read(entry) for entry in self.entries[index]]
        return read(self.entries[index])

    def prompt(self, index: int) -> str:
        """The prompt of a sample without its pictures; "" where that cannot be read."""
        return self._one_text(index, PROMPT)

    def reflection(self, index: int) -> str:
        """The reflection of a sample without its pictures; "" where that cannot be read."""
        return self._one_text(index, REFLECTION)

    def _one_text(self, index: int, name: str) -> str:
        entry = self.entries[index]
        try:
            with entry.shard.open("rb") as stream:
                return _text(_bytes(stream, *entry.files[name]))
        except (OSError, SampleError):
            return ""

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of a sample's good picture, upright, from its header alone."""
        entry = self.entries[index]
        try:
            with entry.shard.open("rb") as stream:
                offset, size = entry.files[_picture(entry.files, GOOD)]
                return picture_size(io.BufferedReader(_Part(stream, offset, size)))
        except (OSError, PictureError) as error:
            raise SampleError("picture unreadable") from error

    def _index(self, shard: Path) -> list[TripletEntry]:
        index = index_of(shard)
        if index.fault:
            self.skipped[index.fault] += 1
        return [
            TripletEntry(shard, key, index.subsets[key], files)
            for key, files in index.places.items()
            if self._is_whole(files, index.subsets.get(key, ""))
        ]

    def _is_whole(self, files: Mapping[str, tuple[int, int]], subset: str) -> bool:
        texts = all(name in files for name in (REFLECTION, PROMPT, SUBSET))
        if not texts or not _picture(files, GOOD) or not _picture(files, BAD):
            self.skipped["file of a sample missing"] += 1
            return False
        if subset not in SUBSETS:
            self.skipped["unknown subset"] += 1
            return False
        return True


class _Part(io.RawIOBase):
    """A file inside another file."""

    def __init__(self, stream: io.BufferedReader, start: int, size: int) -> None:
        self.stream, self.start, self.length, self.at = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + (0, self.at, self.length)[whence]
        return self.at

    def readinto(self, buffer: Any) -> int:
        self.stream.seek(self.start + self.at)
        data = self.stream.read(max(0, min(len(buffer), self.length - self.at)))
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def read(entry: TripletEntry) -> Triplet:
    """Raises SampleError."""
    try:
        with entry.shard.open("rb") as stream:
            parts = {name: _bytes(stream, *where) for name, where in entry.files.items()}
    except OSError as error:
        raise SampleError("shard unreadable") from error
    return Triplet(
        entry.key,
        opened(parts[_picture(parts, GOOD)]),
        opened(parts[_picture(parts, BAD)]),
        _text(parts[PROMPT]),
        _text(parts[REFLECTION]),
        entry.subset,
        _json(parts.get(METADATA, b"{}")),
    )


def files_of(triplet: Triplet, image_format: str = "jpg") -> dict[str, bytes | str]:
    """A sample as WebDataset writes it, without its key; "png" keeps every bit of a picture."""
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
    """The name of the file that holds that picture, or nothing."""
    return next((f"{name}.{form}" for form in FORMATS if f"{name}.{form}" in files), "")


def _bytes(stream: io.BufferedReader, offset: int, size: int) -> bytes:
    stream.seek(offset)
    data = stream.read(size)
    if len(data) < size:
        raise SampleError("shard broken off")
    return data


def opened(data: bytes) -> Picture:
    """The whole picture in a file's bytes, upright and in RGB; raises SampleError."""
    try:
        return read_picture(data)
    except PictureError as error:
        raise SampleError("picture unreadable") from error


def open_picture(file: Path) -> Picture:
    """The picture of a file, as `opened` reads it; raises SampleError."""
    try:
        return opened(file.read_bytes())
    except FileNotFoundError as error:
        raise SampleError("picture missing") from error
    except (OSError, ValueError) as error:  # ValueError: a path that no system takes
        raise SampleError("picture unreadable") from error


def usable_text(text: str) -> str:
    """The text as `checked_text` gives it; raises SampleError."""
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
    """A picture as a file's bytes; the same bytes for the same pixels."""
    buffer = io.BytesIO()
    if image_format in ("jpg", "jpeg"):
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        image.save(buffer, image_format.upper())
    return buffer.getvalue()
