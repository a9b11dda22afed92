"""Samples for training: unreadable ones are replaced and counted."""

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
from train.skipped import Skipped, reasons
from train.triplets import SampleError

Sample_co = TypeVar("Sample_co", covariant=True)
Kind = TypeVar("Kind")
Unread = tuple[str, str]  # why a sample could not be read, and its name
TRIES = 100  # with more unreadable samples in a row, the data are considered broken


class SampleSource(Protocol[Sample_co]):
    """Samples by number; `read` raises SampleError for unusable ones.

    `skipped` counts by reason what was excluded before numbering.
    """

    @property
    def skipped(self) -> Counter[str]: ...

    @property
    def prompts(self) -> np.ndarray:
        """Numbers (n,) below 2^64, equal for prompts with the same words; 0: unknown."""
        ...

    def __len__(self) -> int: ...

    def key(self, index: int) -> str:
        """The name of a sample."""
        ...

    def read(self, index: int) -> Sample_co: ...


class Usable(Dataset[tuple[Kind, list[Unread]]]):
    """Some samples of a source; an unreadable one is replaced by the next readable one.

    Batches are therefore always full and the same in a resumed run. The samples that could not be
    read are returned with the sample.
    """

    def __init__(self, source: SampleSource[Kind], indices: Sequence[int]) -> None:
        if not indices:
            raise InputError("There are no samples to train on. Check `data` and `held_out`.")
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Kind, list[Unread]]:
        unread: list[Unread] = []
        for position in range(index, index + min(TRIES, len(self.indices))):
            number = self.indices[position % len(self.indices)]
            try:
                return self.source.read(number), unread
            except SampleError as error:
                unread.append((str(error), self.source.key(number)))
        skipped = Skipped()
        for each in unread:
            skipped.add(*each)
        raise InputError(
            f"{len(unread)} samples in a row cannot be used: {reasons(skipped)}. Check the data "
            f"from their sample {index} on."
        )


def readable(
    source: SampleSource[Any], indices: Iterable[int], most: int
) -> tuple[list[int], Skipped]:
    """The first `most` readable samples of the indices, and why others could not be read."""
    good: list[int] = []
    skipped = Skipped()
    for index in indices:
        if len(good) == most:
            break
        try:
            source.read(index)
        except SampleError as error:
            skipped.add(str(error), source.key(index))
        else:
            good.append(index)
    return good, skipped


def split(source: SampleSource[Any], share: float) -> tuple[list[int], list[int]]:
    """Training samples and held-out samples; no prompt is in both."""
    prompts = source.prompts
    held = (prompts != 0) & (prompts / 2.0**64 < share)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


def mingled(indices: Iterable[int]) -> list[int]:
    """The indices in a pseudo-random order that is the same on every machine."""
    return sorted(indices, key=lambda index: _fraction(str(index)))


def coin(*parts: str | int) -> bool:
    """A pseudo-random bit that depends only on the parts."""
    return _fraction(" ".join(map(str, parts))) < 0.5


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; InputError if it cannot be read."""
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
    """InputError if none of the folders of these pictures exists, as after train.data with
    images=false.

    Picture paths are relative to the file.
    """
    folders = {(file.parent / name).parent for name in names if isinstance(name, str)}
    if folders and not any(folder.is_dir() for folder in folders):
        raise InputError(
            f"The pictures that {file} names are missing in {min(folders)}. Give "
            f"data={file.parent} to read the shards beside it, or make the data with images=true."
        )


def _fraction(text: str) -> float:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
