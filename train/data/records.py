"""What stages hand to each other: plain records that can be pickled, without models or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from PIL.Image import Image

from reflectionflow_core.record import Verdict
from train.triplets import opened

BY_PERSON: Mapping[str, Any] = {"by": "person"}  # metadata of a pair that somebody chose


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a source's work list: `number` is its position there, `metadata` JSON.

    Neighbours of one `group` are read at once, as a row group of Parquet is; "" is none.
    """

    number: int
    prompt: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True, slots=True)
class PaintedPicture:
    """A picture as a file's bytes, and the judges' verdicts.

    `prompt` is what it was painted from. `marks` are the scorers' scores by name, higher is better;
    `unmet` is what is wrong, in the words of the first judge that says it.
    """

    data: bytes
    prompt: str = ""
    seed: int | None = None
    marks: Mapping[str, float] = field(default_factory=dict)
    passed: bool | None = None
    unmet: tuple[str, ...] = ()

    @property
    def image(self) -> Image:
        """Raises SampleError."""
        return opened(self.data)

    def judged(self, verdicts: Mapping[str, Verdict]) -> PaintedPicture:
        """The picture with the verdict of each named judge."""
        given = list(verdicts.values())
        return replace(
            self,
            marks={n: v.score for n, v in verdicts.items() if v.score is not None},
            passed=next((v.passed for v in given if v.passed is not None), None),
            unmet=next((v.unmet for v in given if v.unmet), ()),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures for one prompt, and how the bad one becomes the good one.

    `key` names it in all shards; `metadata` is JSON that goes into the sample.
    """

    key: str
    prompt: str
    good: PaintedPicture
    bad: PaintedPicture
    reflection: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatSample:
    """A question with the answer to learn, as JSON `told`, and its picture's file, or nothing."""

    key: str
    prompt: str
    told: str
    image: bytes = b""


@dataclass(frozen=True, slots=True)
class Slice:
    """A few items of one shard on their way; `position` is that of the slice in its shard.

    `pictures` has those of each item until they are paired. `rejects` counts what was dropped by
    reason, `counts` what was spent: pictures painted, model calls.
    """

    shard: int
    position: int
    items: tuple[Item, ...]
    pictures: tuple[tuple[PaintedPicture, ...], ...] = ()
    pairs: tuple[Pair, ...] = ()
    chats: tuple[ChatSample, ...] = ()
    rejects: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """That of its items, which is the same for all."""
        return self.items[0].group if self.items else ""

    def paired(self, pairs: Iterable[Pair], rejects: Iterable[str] = (), **counts: int) -> Slice:
        """The slice with these pairs instead of pictures, more rejects and more counts."""
        return replace(
            self,
            pictures=(),
            pairs=tuple(pairs),
            rejects=dict(Counter(self.rejects) + Counter(rejects)),
            counts=dict(Counter(self.counts) + Counter(counts)),
        )


def seed_of(*parts: object) -> int:
    """A seed of 32 bits that depends on the parts alone."""
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:4], "big")
