"""Choices as tokens: which beginnings of an answer count for which choice.

A model that means "yes" may begin with "Yes" or " yes". Such variants count for their choice where
the tokenizer writes them with no more tokens than the choice itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..record import InputError

Tokens = tuple[int, ...]


def spellings(tokenizer: Any, choices: Sequence[str]) -> dict[Tokens, int]:
    """Every token sequence that counts, with the index of its choice.

    Raises InputError for choices that are empty or that tokens do not tell apart.
    """
    exact = [_tokens(tokenizer, choice) for choice in choices]
    if not choices or not all(exact) or len(set(exact)) < len(exact):
        raise InputError(
            f"The choices {', '.join(map(repr, choices)) or '(none)'} cannot be told apart. "
            "Give one or more texts, none empty and no two alike."
        )
    owners = {tokens: index for index, tokens in enumerate(exact)}
    if len({choice.strip().lower() for choice in choices}) < len(choices):
        return owners  # they differ in what variants ignore
    for index, choice in enumerate(choices):
        bare = choice.strip()
        for word in (bare, bare[:1].upper() + bare[1:], bare[:1].lower() + bare[1:]):
            for tokens in (_tokens(tokenizer, word), _tokens(tokenizer, f" {word}")):
                if tokens and len(tokens) <= len(exact[index]):
                    owners.setdefault(tokens, index)
    return owners


def prefixes(sequences: Sequence[Tokens]) -> list[Tokens]:
    """Every beginning after which a next token's probability is needed; () is the prompt alone."""
    return sorted({sequence[:n] for sequence in sequences for n in range(len(sequence))})


def shares(
    owners: Mapping[Tokens, int], logarithms: Mapping[Tokens, float], choices: int
) -> tuple[float, ...]:
    """Probability of each choice among the choices; the longest one that fits is meant.

    `logarithms` are those of each sequence's probability.
    """
    highest = max(logarithms[tokens] for tokens in owners)  # unlikely ones must not become zero
    raised = {tokens: logarithms[tokens] - highest for tokens in owners}
    totals = masses(owners, raised, choices)
    return tuple(total / sum(totals) for total in totals)


def masses(
    owners: Mapping[Tokens, int], logarithms: Mapping[Tokens, float], choices: int
) -> tuple[float, ...]:
    """Probability of each choice among all that could be said.

    So "1" does not mean "10", although the one begins with the other.
    """
    totals = [0.0] * choices
    for tokens, index in owners.items():
        probability = math.exp(logarithms[tokens])
        totals[index] += probability
        shorter = [tokens[:n] for n in range(len(tokens) - 1, 0, -1) if tokens[:n] in owners]
        if shorter:
            totals[owners[shorter[0]]] -= probability
    return tuple(max(0.0, total) for total in totals)


def _tokens(tokenizer: Any, text: str) -> Tokens:
    return tuple(tokenizer.encode(text, add_special_tokens=False))
