"""The prompts of an evaluation: the miniature's, as many of each family, none seen in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..miniature.prompts import FAMILIES, prompts
from ..record import InputError

MOST = 100_000  # of a family; all are held in memory


@dataclass(frozen=True, slots=True)
class Question:
    prompt: str
    family: str


def held_out(per_family: int, seed: int = 0, families: Sequence[str] = FAMILIES) -> list[Question]:
    """As many held-out prompts of each family; small families repeat theirs."""
    if not families:
        raise InputError(f"There are no prompts of no family. Choose among: {', '.join(FAMILIES)}.")
    if per_family > MOST:
        raise InputError(
            f"{per_family:,} prompts of a family are more than are ever needed. "
            f"Ask for {MOST:,} of each family at most."
        )
    for family in families:
        if family not in FAMILIES:
            raise InputError(
                f"There is no family of prompts named {family!r}. "
                f"Choose among: {', '.join(FAMILIES)}."
            )
    rng = np.random.default_rng(seed)
    questions: list[Question] = []
    for family in families:
        side = prompts(family, held_out=True)
        chosen = rng.permutation(per_family) % len(side)
        questions += [Question(side[i][0], family) for i in chosen]
    return questions
