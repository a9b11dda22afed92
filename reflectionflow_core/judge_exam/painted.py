"""Pictures that a model paints for an exam.

Their prompts only say what to paint; a detector finds out what the pictures show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from ..detection.words import quantity
from ..miniature.prompts import specs
from ..protocols import SILENT, Painter, Progress
from ..record import Request

MOST = 3  # things of a name that are asked for
BATCH = 4  # pictures that are painted at once
FAMILIES = ("counting", "position", "color_attr")  # of the miniature's prompts
NOISE = 2**31  # seeds are drawn below


def prompts_of(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` prompts, each of one or two of `names` in some number."""
    prompts = []
    for _ in range(count):
        some = rng.permutation(names)[:2]
        things = [quantity(int(rng.integers(1, MOST + 1)), str(name)) for name in some]
        prompts.append(f"a photo of {' and '.join(things)}")
    return prompts


def shape_prompts(count: int, rng: np.random.Generator) -> list[str]:
    """`count` prompts that the miniature understands."""
    drawn = [rng.choice(len(specs(family))) for family in FAMILIES for _ in range(count)]
    families = [family for family in FAMILIES for _ in range(count)]
    prompts = [str(specs(family)[i]) for family, i in zip(families, drawn, strict=True)]
    return [prompts[index] for index in rng.permutation(len(prompts))[:count]]


def paint_for_exam(
    painter: Painter,
    prompts: Sequence[str],
    rng: np.random.Generator,
    progress: Progress = SILENT,
) -> list[Image]:
    """One picture for each prompt, from noise that `rng` draws."""
    requests = [Request(int(rng.integers(NOISE)), prompt) for prompt in prompts]
    painted: list[Image] = []
    for start in range(0, len(requests), BATCH):
        painted += painter.paint(requests[start : start + BATCH], progress)
    return painted
