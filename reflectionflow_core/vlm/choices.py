"""Choices as tokens: which token sequences at the start of an answer count for which choice.

A model that means "yes" may begin with "Yes" or " yes". Such variants count if the tokenizer needs
no more tokens for them than for the choice itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..record import InputError

Tokens = tuple[int, ...]


def spellings(tokenizer: Any, choices: Sequence[str]) -> dict[Tokens, int]:
    """Every token sequence that counts, with the index of its choice.

    InputError if a choice has no tokens or two choices have the same tokens.
    """
    exact = [_tokens(tokenizer, choice) for choice in choices]
    if not choices or not all(exact) or len(set(exact)) < len(exact):
        raise InputError(
            f"The choices {', '.join(map(repr, choices)) or '(none)'} are empty or have the same "
            "tokens. Give one or more different texts."
        )
    owners = {tokens: index for index, tokens in enumerate(exact)}
    if len({choice.strip().lower() for choice in choices}) < len(choices):
        return owners  # equal after ignoring case and spaces
    for index, choice in enumerate(choices):
        bare = choice.strip()
        for word in (bare, bare[:1].upper() + bare[1:], bare[:1].lower() + bare[1:]):
            for tokens in (_tokens(tokenizer, word), _tokens(tokenizer, f" {word}")):
                if tokens and len(tokens) <= len(exact[index]):
                    owners.setdefault(tokens, index)
    return owners


def prefixes(sequences: Sequence[Tokens]) -> list[Tokens]:
    """Every prefix after which the next token's probability is needed; () is the prompt only."""
    return sorted({sequence[:n] for sequence in sequences for n in range(len(sequence))})


def relative_masses(
    owners: Mapping[Tokens, int], logarithms: Mapping[Tokens, float], choices: int
) -> tuple[float, ...]:
    """P(choice) among the choices, summing to 1; see `masses`.

    `logarithms` are the log-probabilities of the sequences in `owners`.
    """
    highest = max(
        logarithms[tokens] for tokens in owners
    )  # avoids underflow of small probabilities
    raised = {tokens: logarithms[tokens] - highest for tokens in owners}
    totals = masses(owners, raised, choices)
    return tuple(total / sum(totals) for total in totals)


def masses(
    owners: Mapping[Tokens, int], logarithms: Mapping[Tokens, float], choices: int
) -> tuple[float, ...]:
    """P(choice) among all answers.

    An answer counts for the longest choice that it begins with: "10" does not count for "1".
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
