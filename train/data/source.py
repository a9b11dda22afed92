"""A source for the engine: its work list, and the stages that turn it into pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from train.data.records import Item, Slice
from train.data.settings import Pool

StageFunction = Callable[[Slice], Slice]


@dataclass(frozen=True, slots=True)
class PipelineStage:
    """A stage; `build` runs once in each worker of the pool and loads what it needs."""

    name: str
    build: Callable[[], StageFunction]
    pool: Pool


@dataclass(frozen=True, slots=True)
class Source:
    """Items in order, counts of what was excluded beforehand, and the stages."""

    name: str
    subset: str
    items: Sequence[Item]
    rejects: Counter[str]
    stages: tuple[PipelineStage, ...]
