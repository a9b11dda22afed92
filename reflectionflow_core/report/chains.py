"""The chains of a search: pictures of which each is made from the one before."""

from __future__ import annotations

from ..record import Candidate, History

Chain = tuple[Candidate, ...]


def chains_of(history: History) -> list[Chain]:
    """Every candidate in exactly one chain, in the order of the chains' first pictures.

    A chain goes on with the first picture that was made from its last one; further ones begin
    chains of their own.
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
