"""Batches read ahead in threads; unusable samples are replaced and counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from reflectionflow_core.record import InputError
from train.corrector.mixture import Sampler, dropped
from train.corrector.samples import BatchSource, TrainingBatch
from train.corrector.settings import Drops
from train.fit import Draw
from train.skipped import Skipped, reasons
from train.triplets import SampleError

TRIES = 100  # with more unusable samples in a batch, the data are considered broken


class BatchReader:
    """Reads the samples of a draw, which are determined by its numbers."""

    def __init__(self, source: BatchSource, sampler: Sampler, drops: Drops, size: int) -> None:
        self.source, self.sampler, self.drops = source, sampler, drops
        self.size = size  # samples of a batch
        self.skipped = Skipped()

    def __call__(self, draw: Draw) -> list[Any]:
        rng, _ = draw.generators()
        rows: list[Any] = []
        picks = self.sampler.picks(draw.step, rng, self.size)
        for index in islice(picks, self.size + TRIES):
            drop = dropped(self.drops, self.source.labels[index][0], rng)
            try:
                rows.append(self.source.read(index, drop, rng))
            except SampleError as error:
                self.skipped.add(str(error), self.source.key(index))
            if len(rows) == self.size:
                return rows
        raise InputError(
            f"More than {TRIES} samples of a batch cannot be used: {reasons(self.skipped)}. "
            "Check the shards, or make them again."
        )


class Batches:
    """Batches by draw; the next ones are read during a training step."""

    def __init__(
        self,
        source: BatchSource,
        read: Callable[[Draw], list[Any]],
        coming: Callable[[Draw], Iterable[Draw]],
        threads: int,
        a_step: int,
    ) -> None:
        self.source, self.read, self.coming, self.threads = source, read, coming, threads
        self.pool = ThreadPoolExecutor(threads, "read")
        self.waiting: dict[Draw, Future[list[Any]]] = {}
        self.keys: deque[tuple[str, ...]] = deque(maxlen=a_step)  # reads of the last step's batches

    def __call__(self, draw: Draw) -> TrainingBatch:
        for each in (draw, *islice(self.coming(draw), self.threads)):
            if each not in self.waiting:
                self.waiting[each] = self.pool.submit(self.read, each)
        batch = self.source.batch(self.waiting.pop(draw).result())
        self.keys.append(batch.keys)
        return batch

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
