"""P(an answer begins with a choice), from the first token's likeliest values or from samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..record import InputError

BEFORE_WORDS = " \t\r\n\u2581\u0120\u010a\"'`*([{<"  # what tokenizers and models put before a word


def check_choices(choices: Sequence[str]) -> None:
    """Raises InputError if a choice is empty or two differ only in case and leading signs."""
    folded = [_folded(choice) for choice in choices]
    if not folded or not all(folded) or len(set(folded)) < len(folded):
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
    folded = [_folded(answer) for answer in answers]
    mass = [0.0] * len(answers)
    for token, logprob in tops:
        if _folded(token) in folded:
            mass[folded.index(_folded(token))] += math.exp(logprob)
    return tuple(min(m, 1.0) for m in mass)


def from_samples(texts: Iterable[str], choices: Sequence[str]) -> tuple[float, ...] | None:
    """P(choice) from sampled answers with Laplace smoothing; None if no choice occurs."""
    counts = [0] * len(choices)
    for text in texts:
        if (index := choice_index(text, choices)) is not None:
            counts[index] += 1
    total = sum(counts)
    return tuple((c + 1) / (total + len(counts)) for c in counts) if total else None


def choice_index(text: str, choices: Sequence[str]) -> int | None:
    """Which choice a text begins with, or is the beginning of; None unless it is just one."""
    said = _folded(text)
    folded = [_folded(choice) for choice in choices]
    whole = [i for i, choice in enumerate(folded) if _begins_with(said, choice)]
    if whole:
        return max(whole, key=lambda i: len(folded[i]))
    partial = [i for i, choice in enumerate(folded) if said and choice.startswith(said)]
    return partial[0] if len(partial) == 1 else None


def _begins_with(said: str, choice: str) -> bool:
    """As a word: "no." begins with "no", "not" does not."""
    after = said[len(choice) : len(choice) + 1]
    return said.startswith(choice) and not (after.isalnum() or after == "_")


def _folded(text: str) -> str:
    return text.lstrip(BEFORE_WORDS).rstrip().casefold()
