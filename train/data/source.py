"""A source as the engine sees it: its work list, and the stages that make pairs of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from train.data.records import Item, Slice
from train.data.settings import Pool

StageFunction = Callable[[Slice], Slice]


@dataclass(frozen=True, slots=True)
class PipelineStage:
    """A step of the work; `build` loads what it needs, once in each of the pool's workers."""

    name: str
    build: Callable[[], StageFunction]
    pool: Pool


@dataclass(frozen=True, slots=True)
class Source:
    """Items in their order, what was dropped before any work, and the stages that end in pairs."""

    name: str
    subset: str
    items: Sequence[Item]
    rejects: Counter[str]
    stages: tuple[PipelineStage, ...]
