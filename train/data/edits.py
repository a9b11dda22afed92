"""Data sets of edits, an adapter per format: (source, edited, instruction, caption) by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from reflectionflow_core.record import InputError
from reflectionflow_core.texts import parse_json, reason_of
from train.data.painting import build_generator
from train.data.settings import DRAFTS, SHAPES, Editing, PainterSettings
from train.shard_lists import matching, shards_in
from train.triplets import Edit, SampleError, Triplets, open_picture, opened, usable_text

MINIATURE = PainterSettings()


class EditSet(Protocol):
    """Edits by number; unusable ones raise SampleError with the reason.

    `skipped` counts by reason what was excluded before numbering.
    """

    @property
    def skipped(self) -> Counter[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Edit: ...


class JsonLinesEdits:
    """A JSON Lines file; picture paths are relative to the file."""

    def __init__(self, file: str, fields: Editing) -> None:
        self.file, self.fields = Path(file).expanduser(), fields
        self.skipped = Counter[str]()
        try:
            with self.file.open("rb") as stream:
                self.starts = [0]
                for line in stream:
                    self.starts.append(self.starts[-1] + len(line))
        except OSError as error:
            raise InputError(
                f"The data set {file} cannot be read ({reason_of(error)}). Check the path."
            ) from error

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Edit:
        start, end = self.starts[index], self.starts[index + 1]
        try:
            with self.file.open("rb") as stream:
                stream.seek(start)
                row = parse_json(stream.read(end - start))
        except (OSError, ValueError) as error:
            raise SampleError("row unreadable") from error
        return edit_of(row, self.fields, self._picture)

    def _picture(self, name: Any) -> Image.Image:
        return open_picture(self.file.parent / str(name))


class ParquetEdits:
    """Parquet files in the hub's format: pictures are bytes, or structs with "bytes"."""

    def __init__(self, files: str, fields: Editing) -> None:
        from pyarrow.parquet import ParquetFile

        where = Path(files).expanduser()
        found = [where] if where.is_file() else matching(where)
        if not found:
            raise InputError(f"No files found: {files}. Check the path.")
        self.fields, self.skipped = fields, Counter[str]()
        named = (fields.source, fields.edited, fields.instruction, fields.caption)
        self.columns = [name for name in named if name]
        self.groups: list[tuple[Path, int]] = []  # file, and row group in it
        starts = [0]
        for file in found:
            try:
                metadata = ParquetFile(file).metadata
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{file} is not a Parquet file ({error}). Download it again."
                ) from error
            for group in range(metadata.num_row_groups):
                self.groups.append((file, group))
                starts.append(starts[-1] + metadata.row_group(group).num_rows)
        self.starts = np.array(starts)
        self._held: tuple[int, list[dict[str, Any]]] = (-1, [])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> Edit:
        group = self.group_of(index)
        if self._held[0] != group:
            self._held = (-1, [])  # one at a time, to save memory
            self._held = (group, self._rows(*self.groups[group]))
        return edit_of(self._held[1][index - int(self.starts[group])], self.fields, _from_column)

    def group_of(self, index: int) -> int:
        """The number of the row group over all files; reading a row reads its whole group."""
        return int(np.searchsorted(self.starts, index, "right")) - 1

    def _rows(self, file: Path, group: int) -> list[dict[str, Any]]:
        from pyarrow.parquet import ParquetFile

        try:
            return ParquetFile(file).read_row_group(group, self.columns).to_pylist()
        except (OSError, ValueError, KeyError) as error:
            raise SampleError("rows unreadable") from error


class ShardEdits:
    """Shards with the keys of GenRef-wds."""

    def __init__(self, where: str) -> None:
        self.triplets = Triplets(shards_in(where))
        self.skipped = self.triplets.skipped

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> Edit:
        triplet = self.triplets[index]
        return Edit(triplet.bad, triplet.good, triplet.reflection, triplet.prompt)


def open_set(
    spec: str, fields: Editing, seed: int, painter: PainterSettings = MINIATURE
) -> EditSet:
    """The data set of a spec: its format and, after a colon, its path or prompt family."""
    from train.miniature.edits import DraftEdits, ShapeEdits

    kind, _, where = spec.partition(":")
    formats: dict[str, Callable[[], EditSet]] = {
        SHAPES: partial(ShapeEdits, seed, where, fields.siblings),
        DRAFTS: partial(
            DraftEdits, seed, partial(build_generator, painter), where, fields.siblings
        ),
        "jsonl": partial(JsonLinesEdits, where, fields),
        "parquet": partial(ParquetEdits, where, fields),
        "shards": partial(ShardEdits, where),
    }
    if kind not in formats:
        known = ", ".join(formats)
        raise InputError(f"Unknown format of edits: {kind!r}. Choose one of: {known}.")
    return formats[kind]()


def edit_of(row: Any, fields: Editing, picture: Callable[[Any], Image.Image]) -> Edit:
    """The edit in a row; raises SampleError if a field is missing."""
    if not isinstance(row, Mapping):
        raise SampleError("row unreadable")
    for name in (fields.source, fields.edited, fields.instruction):
        if row.get(name) is None:
            raise SampleError(f"field {name} missing")
    instruction = row[fields.instruction]
    if isinstance(instruction, list) and instruction:
        instruction = instruction[0]  # the others are paraphrases
    caption = row.get(fields.caption) if fields.caption else ""
    texts = [usable_text(str(text or "")) for text in (instruction, caption)]
    return Edit(picture(row[fields.source]), picture(row[fields.edited]), *texts)


def _from_column(value: Any) -> Image.Image:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(data, bytes):
        raise SampleError("picture missing")
    return opened(data)
