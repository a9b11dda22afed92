"""Where noise comes from: a pure function, so a search that resumes needs no generator's state."""

from __future__ import annotations

from hashlib import sha256

TURNS = 4  # of a Feistel network; Luby and Rackoff (1988) show that four look random
PLACES = 1 << 16  # more than the pictures of any round, and than the rounds of any search


def fresh_seed(seed: int, round_index: int, position: int) -> int:
    """The seed at one place of a search, unlike that at any other place of it.

    It does not depend on width or depth: a larger search begins with the noises of a smaller one,
    and a picture painted by itself has the noise that it would have in a search.
    """
    if not (0 <= round_index < PLACES and 0 <= position < PLACES):
        raise ValueError(f"There is no place {position} in a round {round_index}.")
    return shuffled(round_index * PLACES + position, key=seed)


def shuffled(number: int, key: int) -> int:
    """A permutation of the 32-bit numbers chosen by `key`: different numbers never meet.

    Each turn of a Feistel network can be undone whatever its hash, so the whole is a bijection.
    """
    left, right = number >> 16, number & 0xFFFF
    for turn in range(TURNS):
        digest = sha256(f"{key} {turn} {right}".encode()).digest()
        left, right = right, left ^ int.from_bytes(digest[:2], "big")
    return left << 16 | right
