"""Held-out prompts of the miniature, the same number for each family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..miniature.prompts import FAMILIES, parse, prompts
from ..record import InputError

MAX_PER_FAMILY = 100_000  # all are kept in memory


@dataclass(frozen=True, slots=True)
class EvalPrompt:
    prompt: str
    family: str


def meanings(asked: Sequence[EvalPrompt]) -> int:
    """How many of the prompts ask for something different."""
    return len({parse(one.prompt).meaning for one in asked})


def held_out(
    per_family: int, seed: int = 0, families: Sequence[str] = FAMILIES
) -> list[EvalPrompt]:
    """`per_family` held-out prompts of each family, each of another meaning; a family with fewer
    meanings repeats them in other words.

    The families take turns, so that the first prompts are a smaller sample of the same kind.
    """
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
    chosen: list[list[EvalPrompt]] = []
    for family in families:
        by_meaning: dict[str, list[str]] = {}
        for prompt, spec in prompts(family, held_out=True):
            by_meaning.setdefault(spec.meaning, []).append(prompt)
        wordings = [rng.permutation(texts).tolist() for texts in by_meaning.values()]
        order = np.resize(rng.permutation(len(wordings)), per_family)
        texts = [(number // len(wordings), wordings[meant]) for number, meant in enumerate(order)]
        chosen.append([EvalPrompt(worded[turn % len(worded)], family) for turn, worded in texts])
    return [prompt for turn in zip(*chosen, strict=True) for prompt in turn]
