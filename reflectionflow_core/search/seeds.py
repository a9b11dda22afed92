"""The seed of every picture's noise: a pure function, so a resumed search needs no random state."""

from __future__ import annotations

from hashlib import sha256

TURNS = 4  # of a Feistel network; Luby and Rackoff (1988) show that four look random
PLACES = 1 << 16  # more than the pictures of any round, and than the rounds of any search


def fresh_seed(seed: int, round_index: int, position: int) -> int:
    """The seed at one place of a search; no other place of it has the same.

    It does not depend on width or depth: a larger search begins with the noise of a smaller one,
    and a picture painted on its own has the same noise as in a search. Raises ValueError for
    numbers outside 0 to PLACES - 1.
    """
    if not (0 <= round_index < PLACES and 0 <= position < PLACES):
        raise ValueError(f"There is no place {position} in a round {round_index}.")
    return shuffled(round_index * PLACES + position, key=seed)


def shuffled(number: int, key: int) -> int:
    """A permutation of the 32-bit numbers, chosen by `key`.

    It is a Feistel network, whose rounds are invertible whatever the hash, so it is a bijection.
    """
    left, right = number >> 16, number & 0xFFFF
    for turn in range(TURNS):
        digest = sha256(f"{key} {turn} {right}".encode()).digest()
        left, right = right, left ^ int.from_bytes(digest[:2], "big")
    return left << 16 | right
