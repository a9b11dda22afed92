"""In-context reflection (Reflect-DiT, Li et al. 2025): writer and evolver see earlier attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...record import Candidate
from ...settings import SearchSettings
from .reflection import Rounds, best_candidates, choose_parents, correction, drafts


def in_context(settings: SearchSettings) -> Rounds:
    """Like `reflection`, but each correction has earlier pictures of its chain as context."""
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
    """The latest pictures of a chain, at most `most`, without the parent and with distinct faults.

    The chain includes corrections that were not continued: their failures are informative.
    """
    chosen: dict[tuple[str, ...], Candidate] = {}
    for picture in reversed(chain):
        if picture is not parent and len(chosen) < most:
            chosen.setdefault(faults_of(picture), picture)
    return tuple(reversed(chosen.values()))


def faults_of(picture: Candidate) -> tuple[str, ...]:
    return picture.verdict.unmet or (picture.verdict.explanation,)
