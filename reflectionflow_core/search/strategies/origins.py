"""What the pictures of a round begin with: their noise and their parents."""

from __future__ import annotations

from itertools import cycle, islice

from ...record import Candidate, History, Neighbour, SearchSettings, Seed
from ..seeds import fresh_seed
from ..task import Task


def drafts(settings: SearchSettings) -> list[Task]:
    """First pictures, each from its own noise: round 0 of most strategies."""
    return [
        Task(fresh_seed(settings.seed, 0, i), action="draft") for i in range(settings.first_round)
    ]


def new_noise(settings: SearchSettings, past: History, position: int, improved: Candidate) -> Seed:
    """A seed not used before, or with zero-order search a step towards it from a known noise."""
    seed = fresh_seed(settings.seed, len(past.rounds), position)
    if settings.noise_search == "zero_order":
        return Neighbour(improved.seed, seed, settings.radius)
    return seed


def choose_parents(settings: SearchSettings, past: History) -> list[Candidate]:
    """The picture that each chain goes on from: its latest (the paper) or its best so far."""
    if settings.parents == "best":
        return [max(chain, key=lambda member: member.score) for chain in chains(settings, past)]
    return [chain[-1] for chain in chains(settings, past)]


def chains(settings: SearchSettings, past: History) -> list[tuple[Candidate, ...]]:
    """Every chain from its draft on; at first the best drafts begin one each, by rank.

    This is for strategies that paint one picture of each chain in every round after the drafts.
    """
    first, *corrected = past.rounds
    if corrected:
        return [past.chain(i) for i in range(settings.width)]
    # sorted is stable: the earlier of equal drafts ranks first. Too few drafts take turns.
    ranked = sorted(first, key=lambda draft: draft.score, reverse=True)
    return [(draft,) for draft in islice(cycle(ranked), settings.width)]
