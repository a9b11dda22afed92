"""Where noise comes from: a pure function, so a search that resumes needs no generator's state."""

from __future__ import annotations

from hashlib import sha256

from ..record import SearchSettings

TURNS = 4  # of a Feistel network; Luby and Rackoff (1988) show that four look random


def fresh_seed(settings: SearchSettings, round_index: int, position: int) -> int:
    """The seed at one place of a search, unlike that at any other place of it."""
    corrected_rounds = max(0, round_index - 1)
    earlier = settings.first_round * (round_index > 0) + settings.width * corrected_rounds
    return shuffled(earlier + position, key=settings.seed)


def shuffled(number: int, key: int) -> int:
    """A permutation of the 32-bit numbers chosen by `key`: different numbers never meet.

    Each turn of a Feistel network can be undone whatever its hash, so the whole is a bijection.
    """
    left, right = number >> 16, number & 0xFFFF
    for turn in range(TURNS):
        digest = sha256(f"{key} {turn} {right}".encode()).digest()
        left, right = right, left ^ int.from_bytes(digest[:2], "big")
    return left << 16 | right
