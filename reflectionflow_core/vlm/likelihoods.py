"""P(an answer begins with a choice), from the first token's likeliest values or from samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..record import InputError
from .closed import choice_index, folded, said_choice


def check_choices(choices: Sequence[str]) -> None:
    """Raises InputError if a choice is empty or two differ only in case and leading signs."""
    bare = [folded(choice) for choice in choices]
    if not bare or not all(bare) or len(set(bare)) < len(bare):
        raise InputError(
            f"The choices {list(choices)} are empty or equal. Give different texts; upper and "
            "lower case count as the same."
        )


def from_top_tokens(
    tops: Iterable[tuple[str, float]], choices: Sequence[str]
) -> tuple[float, ...] | None:
    """P(choice) from (token, log-probability) pairs, renormalised to 1; None if no choice occurs.

    A token that could begin several choices is ignored.
    """
    mass = [0.0] * len(choices)
    for token, logprob in tops:
        if (index := choice_index(token, choices)) is not None:
            mass[index] += math.exp(logprob)
    total = sum(mass)
    return tuple(m / total for m in mass) if total > 0 else None


def masses_from_top_tokens(
    tops: Iterable[tuple[str, float]], answers: Sequence[str]
) -> tuple[float, ...]:
    """P(answer) among all tokens, from (token, log-probability) pairs.

    Only tokens that are a whole answer count.
    """
    bare = [folded(answer) for answer in answers]
    mass = [0.0] * len(answers)
    for token, logprob in tops:
        if folded(token) in bare:
            mass[bare.index(folded(token))] += math.exp(logprob)
    return tuple(min(m, 1.0) for m in mass)


def from_samples(texts: Iterable[str], choices: Sequence[str]) -> tuple[float, ...] | None:
    """P(choice) from sampled answers with Laplace smoothing; None if no choice occurs."""
    counts = [0] * len(choices)
    for text in texts:
        if (index := said_choice(text, choices)) is not None:
            counts[index] += 1
    total = sum(counts)
    return tuple((c + 1) / (total + len(counts)) for c in counts) if total else None
