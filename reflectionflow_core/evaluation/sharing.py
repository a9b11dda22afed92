"""Arms that ask for the same pictures share the sampling.

All arms of a prompt begin with the same noise, and several differ only in their judge, so they
often sample the same batch. A batch is shared as a whole: in other company, the last bits of a
picture differ.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..protocols import Actors, Painter

if TYPE_CHECKING:
    from torch import Tensor

    from ..flux.painter import FluxPainter, FluxRow, ProgressSlice


class SharedSampling:
    """Sampled batches of one prompt at a time.

    `saved` is the time in seconds that the shared ones took when they were sampled.
    """

    def __init__(self) -> None:
        self.saved = 0.0
        self._index: int | None = None
        self._sampled: dict[Hashable, tuple[Tensor, Tensor, float]] = {}

    def actors(self, index: int, actors: Actors) -> Actors:
        """The actors with painters that share, for the prompt with this number."""
        if index != self._index:
            self._index, self._sampled = index, {}
        corrector = actors.corrector and self._painter(actors.corrector)
        return replace(actors, generator=self._painter(actors.generator), corrector=corrector)

    def _painter(self, painter: Painter) -> Painter:
        from ..flux.painter import FluxPainter

        if not isinstance(painter, FluxPainter):
            return painter
        shared = copy(painter)
        shared.sample = partial(self._sample, painter)
        return shared

    def _sample(
        self, painter: FluxPainter, rows: Sequence[FluxRow], steps: int, progress: ProgressSlice
    ) -> tuple[Tensor, Tensor]:
        sampling = replace(painter.sampling, steps=steps)
        key = id(painter.flux), id(painter.lora), sampling, tuple(map(_key, rows))
        if key in self._sampled:
            latents, apart, seconds = self._sampled[key]
            self.saved += seconds
            return latents, apart
        began = time.perf_counter()
        latents, apart = painter.sample(rows, steps, progress)
        self._sampled[key] = latents, apart, time.perf_counter() - began
        return latents, apart


def _key(row: FluxRow) -> Hashable:
    """All that a row's picture depends on."""
    tensors = (
        row.condition and row.condition.latents,
        row.start,
        row.kept and row.kept.latents,
        row.kept and row.kept.mask,
    )
    return row.text, row.seed, row.grid, tuple(t if t is None else _bytes(t) for t in tensors)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().float().cpu().numpy().tobytes()
