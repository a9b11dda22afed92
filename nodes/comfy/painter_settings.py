"""How a MODEL of any family paints, and what is asked for in place of its family's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .families import AS_TEMPLATE


@dataclass(frozen=True)
class ModelPainterSettings:
    """How a MODEL paints; `guidance` is None for one without a guidance embedding.

    A `custom_sampler` (SAMPLER) replaces `sampler`, and `sigmas`, whose last is 0, `scheduler` and
    `steps`.
    """

    width: int
    height: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    guidance: float | None = None
    negative: str = ""
    custom_sampler: Any = None
    sigmas: Tensor | None = None


@dataclass(frozen=True)
class TemplateOverrides:
    """What is asked for in place of the family's own; 0, "" and AS_TEMPLATE leave it."""

    steps: int = 0
    cfg: float = 0.0
    guidance: float = 0.0
    shift: float = 0.0
    sampler: str = AS_TEMPLATE
    scheduler: str = AS_TEMPLATE
    negative: str = ""
    custom_sampler: Any = None
    sigmas: Tensor | None = None
