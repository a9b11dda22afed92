"""How the miniature paints; knows no model."""

from __future__ import annotations

from ..flux.settings import ConditionSettings, SamplingSettings

SIZE = 64  # pixels a side
SAMPLING = SamplingSettings(SIZE, SIZE, steps=12, guidance=3.5, max_sequence_length=40)
CONDITION = ConditionSettings(size=SIZE)
