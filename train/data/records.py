"""Records passed between stages: picklable, without models or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from PIL.Image import Image

from reflectionflow_core.record import Verdict
from train.triplets import opened

BY_PERSON: Mapping[str, Any] = {"by": "person"}  # metadata of a pair chosen by a person


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a source's work list; `number` is its position, `metadata` JSON.

    Neighbours with the same `group` are read together, like a row group of Parquet; "": no group.
    """

    number: int
    prompt: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True, slots=True)
class PaintedPicture:
    """A picture as file bytes, with the judges' verdicts.

    `prompt` is the prompt it was painted from, `marks` the scores by scorer (higher is better),
    `unmet` the flaws named by the first judge that names some.
    """

    data: bytes
    prompt: str = ""
    seed: int | None = None
    marks: Mapping[str, float] = field(default_factory=dict)
    passed: bool | None = None
    unmet: tuple[str, ...] = ()

    @property
    def image(self) -> Image:
        """The picture; raises SampleError."""
        return opened(self.data)

    def judged(self, verdicts: Mapping[str, Verdict]) -> PaintedPicture:
        """The picture with these judges' verdicts."""
        given = list(verdicts.values())
        return replace(
            self,
            marks={n: v.score for n, v in verdicts.items() if v.score is not None},
            passed=next((v.passed for v in given if v.passed is not None), None),
            unmet=next((v.unmet for v in given if v.unmet), ()),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures for a prompt, and the reflection that leads from the bad to the good one.

    `key` is unique over all shards; `metadata` is JSON for the sample.
    """

    key: str
    prompt: str
    good: PaintedPicture
    bad: PaintedPicture
    reflection: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatSample:
    """A question with its answer (JSON in `told`) and the file of its picture, if any."""

    key: str
    prompt: str
    told: str
    image: bytes = b""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some items of a shard on their way through the stages; `position` is the slice's place in the
    shard.

    `pictures` are those of each item until they are paired. `rejects` counts dropped work by
    reason, `counts` pictures painted and model calls.
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
        """The group that all its items share."""
        return self.items[0].group if self.items else ""

    def paired(self, pairs: Iterable[Pair], rejects: Iterable[str] = (), **counts: int) -> Slice:
        """The slice with pairs instead of pictures, and with added rejects and counts."""
        return replace(
            self,
            pictures=(),
            pairs=tuple(pairs),
            rejects=dict(Counter(self.rejects) + Counter(rejects)),
            counts=dict(Counter(self.counts) + Counter(counts)),
        )


def seed_of(*parts: object) -> int:
    """A 32-bit seed that depends only on the parts."""
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:4], "big")
