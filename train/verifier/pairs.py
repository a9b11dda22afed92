"""Pairs of pictures of one prompt, with the better one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from reflectionflow_core.record import InputError
from train.prompt_words import digests
from train.qwen.data import coin, require_pictures, rows_of
from train.shard_lists import shards_in
from train.triplets import SUBSETS, SampleError, Triplets, open_picture, usable_text

FIRST, SECOND, TIE = range(3)
# The data engine writes 1 or 2 for the better picture.
LABELS = {"first": FIRST, "second": SECOND, "tie": TIE, 1: FIRST, 2: SECOND}


@dataclass(frozen=True, slots=True, eq=False)
class PreferencePair:
    """Two pictures of a prompt; `label` is FIRST, SECOND or TIE, `subset` one of SUBSETS."""

    key: str
    first: Image
    second: Image
    prompt: str
    label: int
    subset: str


class TripletPairs:
    """Good and bad picture of each triplet, in an order determined by `seed`."""

    def __init__(self, triplets: Triplets, seed: int) -> None:
        self.triplets, self.seed = triplets, seed
        self.skipped = triplets.skipped

    def __len__(self) -> int:
        return len(self.triplets)

    @property
    def prompts(self) -> np.ndarray:
        return self.triplets.entries.prompts

    def key(self, index: int) -> str:
        return self.triplets.entries[index].key

    def read(self, index: int) -> PreferencePair:
        found = self.triplets[index]
        if coin(self.seed, found.key):
            return PreferencePair(
                found.key, found.good, found.bad, found.prompt, FIRST, found.subset
            )
        return PreferencePair(found.key, found.bad, found.good, found.prompt, SECOND, found.subset)


class FilePairs:
    """Rows {"image1", "image2", "prompt", "label"[, "subset"]} of a JSON Lines file.

    Paths are relative to the file; a label is one of LABELS.
    """

    def __init__(self, file: Path) -> None:
        self.folder, self.name, self.rows = file.parent, file.name, rows_of(file)
        self.skipped: Counter[str] = Counter()
        self.labels = [_label(row, f"Line {i} of {file}") for i, row in enumerate(self.rows, 1)]
        self.ties = self.labels.count(TIE)
        require_pictures(file, [row.get("image1") for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def prompts(self) -> np.ndarray:
        return digests(row.get("prompt") for row in self.rows)

    def key(self, index: int) -> str:
        return f"{self.name}:{index + 1}"

    def read(self, index: int) -> PreferencePair:
        row = self.rows[index]
        first, second = (
            open_picture(self.folder / _text(row, name)) for name in ("image1", "image2")
        )
        subset = row.get("subset", "general")
        if subset not in SUBSETS:
            raise SampleError("unknown subset")
        key, prompt = self.key(index), _text(row, "prompt")
        return PreferencePair(key, first, second, prompt, self.labels[index], subset)


def pairs_in(where: str, seed: int, ties: float, fetch: bool = True) -> FilePairs | TripletPairs:
    """The pairs of a .jsonl file, or of shards (see `shards_in`).

    InputError for ties at `ties` 0.
    """
    if not where.endswith(".jsonl"):
        return TripletPairs(Triplets(shards_in(where, fetch)), seed)
    pairs = FilePairs(Path(where).expanduser())
    if pairs.ties and not ties:
        raise InputError(
            f"{pairs.ties} pairs of {where} are ties, which the loss cannot use with ties=0. "
            "Give ties=1: pictures with equal rewards then tie with probability 1/3."
        )
    return pairs


def _label(row: dict[str, Any], line: str) -> int:
    label = row.get("label")
    if isinstance(label, (str, int)) and not isinstance(label, bool) and label in LABELS:
        return LABELS[label]
    raise InputError(
        f"{line} has the label {label!r}. Write one of: {', '.join(map(str, LABELS))}."
    )


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise SampleError(f"{name} missing")
    return usable_text(value)
