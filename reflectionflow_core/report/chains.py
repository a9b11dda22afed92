"""The chains of a search: each picture is made from the one before."""

from __future__ import annotations

from ..record import Candidate, History

Chain = tuple[Candidate, ...]


def chains_of(history: History) -> list[Chain]:
    """Every candidate in exactly one chain, ordered by the chains' first pictures.

    A chain continues with the first picture made from its last one; further ones start new chains.
    """
    chains: list[list[Candidate]] = []
    ending_in: dict[int, list[Candidate]] = {}
    for candidate in history:
        chain = ending_in.pop(id(candidate.parent), None)
        if chain is None:
            chain = []
            chains.append(chain)
        chain.append(candidate)
        ending_in[id(candidate)] = chain
    return [tuple(chain) for chain in chains]
