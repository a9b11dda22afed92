"""Held-out prompts of the miniature, the same number for each family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..miniature.prompts import FAMILIES, prompts
from ..record import InputError

MAX_PER_FAMILY = 100_000  # all are kept in memory


@dataclass(frozen=True, slots=True)
class EvalPrompt:
    prompt: str
    family: str


def held_out(
    per_family: int, seed: int = 0, families: Sequence[str] = FAMILIES
) -> list[EvalPrompt]:
    """`per_family` held-out prompts of each family; small families repeat prompts."""
    if not families:
        raise InputError(f"No family of prompts is given. Choose among: {', '.join(FAMILIES)}.")
    if per_family > MAX_PER_FAMILY:
        raise InputError(
            f"{per_family:,} prompts per family are too many. Choose at most {MAX_PER_FAMILY:,} "
            "per family."
        )
    for family in families:
        if family not in FAMILIES:
            raise InputError(
                f"There is no family of prompts named {family!r}. "
                f"Choose among: {', '.join(FAMILIES)}."
            )
    rng = np.random.default_rng(seed)
    chosen: list[EvalPrompt] = []
    for family in families:
        side = prompts(family, held_out=True)
        order = rng.permutation(per_family) % len(side)
        chosen += [EvalPrompt(side[i][0], family) for i in order]
    return chosen
