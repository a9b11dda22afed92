"""In-context reflection (Reflect-DiT, Li et al. 2025): those who reflect see what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...record import Candidate
from ...settings import SearchSettings
from .reflection import Rounds, best_candidates, choose_parents, correction, drafts


def in_context(settings: SearchSettings) -> Rounds:
    """The chains of reflection; with each correction go earlier pictures of its chain."""
    past = yield drafts(settings)
    parents = best_candidates(settings, past.eligible or past)
    chains = [[parent] for parent in parents]
    for _ in range(settings.depth):
        past = yield [
            replace(
                correction(settings, past, position, parent),
                context=context_of(chain, parent, settings.context),
            )
            for position, (chain, parent) in enumerate(zip(chains, parents, strict=True))
        ]
        for chain, picture in zip(chains, past.rounds[-1], strict=True):
            chain.append(picture)
        parents = choose_parents(settings, parents, latest=past.rounds[-1])


def context_of(chain: Sequence[Candidate], parent: Candidate, most: int) -> tuple[Candidate, ...]:
    """The latest pictures of a chain besides the parent, no two with the same faults.

    The chain also holds corrections that were not continued: they are the ones to learn from.
    """
    chosen: dict[tuple[str, ...], Candidate] = {}
    for picture in reversed(chain):
        if picture is not parent and len(chosen) < most:
            chosen.setdefault(faults_of(picture), picture)
    return tuple(reversed(chosen.values()))


def faults_of(picture: Candidate) -> tuple[str, ...]:
    return picture.verdict.unmet or (picture.verdict.explanation,)
