"""Samples that training can rely on: what cannot be read is skipped, counted, and replaced."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from torch.utils.data import Dataset

from reflectionflow_core.record import InputError
from reflectionflow_core.texts import TextError, parse_json, read_text, reason_of
from train.triplets import SampleError

Sample_co = TypeVar("Sample_co", covariant=True)
Kind = TypeVar("Kind")
TRIES = 100  # samples in a row that cannot be read before the data count as broken


class SampleSource(Protocol[Sample_co]):
    """Samples by number. Reading one raises SampleError where it cannot be used; what could not
    even be listed is counted in `skipped`, by reason.
    """

    skipped: Counter[str]

    @property
    def prompts(self) -> np.ndarray:
        """Numbers (n,) below 2^64, equal for prompts of the same words; 0 is not known."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> Sample_co: ...


class Usable(Dataset[tuple[Kind, list[str]]]):
    """Some samples of a source. One that cannot be read is replaced by the next that can, so a
    batch is always full, and the same in a resumed run; the reasons come with the sample.
    """

    def __init__(self, source: SampleSource[Kind], indices: Sequence[int]) -> None:
        if not indices:
            raise InputError("There are no samples to learn from. Check `data` and `held_out`.")
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Kind, list[str]]:
        reasons: list[str] = []
        for position in range(index, index + min(TRIES, len(self.indices))):
            try:
                return self.source.read(self.indices[position % len(self.indices)]), reasons
            except SampleError as error:
                reasons.append(str(error))
        counts = ", ".join(f"{reason} ({n})" for reason, n in Counter(reasons).most_common())
        raise InputError(
            f"{len(reasons)} samples in a row cannot be used: {counts}. Check the data from their "
            f"sample {index} on."
        )


def readable(
    source: SampleSource[Any], indices: Iterable[int], most: int
) -> tuple[list[int], Counter]:
    """The first `most` of the indices whose samples can be read, and why others could not."""
    good: list[int] = []
    skipped: Counter[str] = Counter()
    for index in indices:
        if len(good) == most:
            break
        try:
            source.read(index)
        except SampleError as error:
            skipped[str(error)] += 1
        else:
            good.append(index)
    return good, skipped


def split(source: SampleSource[Any], share: float) -> tuple[list[int], list[int]]:
    """Samples to learn from and samples held out; no prompt is on both sides."""
    prompts = source.prompts
    held = (prompts != 0) & (prompts / 2.0**64 < share)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


def mingled(indices: Iterable[int]) -> list[int]:
    """In an order that has nothing to do with that of the data, the same on every machine."""
    return sorted(indices, key=lambda index: _fraction(str(index)))


def coin(*parts: str | int) -> bool:
    """The same side for the same parts, on every machine."""
    return _fraction(" ".join(map(str, parts))) < 0.5


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    try:
        lines = read_text(file).rstrip("\n").split("\n")
    except TextError as error:
        raise InputError(f"{file} cannot be used: {error.reason}. Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {reason_of(error)}. Check the path.") from error
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise InputError(
                f"Line {number} of {file} is not JSON. Export the file again."
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"Line {number} of {file} is not an object. Export the file again.")
        rows.append(row)
    return rows


def require_pictures(file: Path, names: Iterable[Any]) -> None:
    """Raises InputError where none of the folders of the named pictures, which are relative to the
    file, is there, as after train.data with images=false.
    """
    folders = {(file.parent / name).parent for name in names if isinstance(name, str)}
    if folders and not any(folder.is_dir() for folder in folders):
        raise InputError(
            f"The pictures that {file} names are not there, in {min(folders)}. Give "
            f"data={file.parent} to read the shards beside it, or make the data with images=true."
        )


def _fraction(text: str) -> float:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
