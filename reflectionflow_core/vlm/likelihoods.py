"""How likely each choice is the beginning of an answer: from first tokens, or from samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..record import InputError

AROUND = " \t\r\n\u2581\u0120\u010a\"'`*([{<"  # what tokenizers and models put before a word


def check_choices(choices: Sequence[str]) -> None:
    """Raises an InputError unless every choice has letters of its own."""
    folded = [_folded(choice) for choice in choices]
    if not folded or not all(folded) or len(set(folded)) < len(folded):
        raise InputError(
            f"{list(choices)} are no choices. Give different texts, none of them empty; upper and "
            "lower case count as the same."
        )


def from_tops(
    tops: Iterable[tuple[str, float]], choices: Sequence[str]
) -> tuple[float, ...] | None:
    """P(choice) from (token, log-probability) pairs, renormalised; None if no choice is there.

    A token that could begin several choices counts for none of them.
    """
    mass = [0.0] * len(choices)
    for token, logprob in tops:
        if (place := place_of(token, choices)) is not None:
            mass[place] += math.exp(logprob)
    total = sum(mass)
    return tuple(m / total for m in mass) if total > 0 else None


def masses_from_tops(
    tops: Iterable[tuple[str, float]], answers: Sequence[str]
) -> tuple[float, ...]:
    """P(answer) among all tokens, from (token, log-probability) pairs; a token that is only a part
    of an answer counts for none, nor does what the pairs leave out.
    """
    folded = [_folded(answer) for answer in answers]
    mass = [0.0] * len(answers)
    for token, logprob in tops:
        if _folded(token) in folded:
            mass[folded.index(_folded(token))] += math.exp(logprob)
    return tuple(min(m, 1.0) for m in mass)


def from_samples(texts: Iterable[str], choices: Sequence[str]) -> tuple[float, ...] | None:
    """P(choice) from sampled answers, with Laplace's one more each; None if no choice is there."""
    counts = [0] * len(choices)
    for text in texts:
        if (place := place_of(text, choices)) is not None:
            counts[place] += 1
    total = sum(counts)
    return tuple((c + 1) / (total + len(counts)) for c in counts) if total else None


def place_of(text: str, choices: Sequence[str]) -> int | None:
    """The choice that a text begins with, or that it is the beginning of; None if not just one."""
    said = _folded(text)
    folded = [_folded(choice) for choice in choices]
    begun = [i for i, choice in enumerate(folded) if _begins_with(said, choice)]
    if begun:
        return max(begun, key=lambda i: len(folded[i]))
    begins = [i for i, choice in enumerate(folded) if said and choice.startswith(said)]
    return begins[0] if len(begins) == 1 else None


def _begins_with(said: str, choice: str) -> bool:
    """As a word: "no." begins with "no", "not" does not."""
    after = said[len(choice) : len(choice) + 1]
    return said.startswith(choice) and not (after.isalnum() or after == "_")


def _folded(text: str) -> str:
    return text.lstrip(AROUND).rstrip().casefold()
