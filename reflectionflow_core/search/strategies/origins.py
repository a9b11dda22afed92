"""What the pictures of a round begin with: their noise and their parents."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import cycle, islice

from ...record import Candidate, History, Neighbour, Request, SearchSettings, Seed
from ..seeds import fresh_seed

# A strategy at work: it yields the requests of a round, as many as it likes, and is sent the
# History after it, without its cost. A return ends the search, and so does a round without
# requests. All follows from the settings and what is sent, with no random state, since a search
# that resumes replays it from the start. It may then go deeper, stop elsewhere or spend more, so
# what a round paints must not depend on `depth`, `stop` or `budget`; `depth` only says when to end.
Rounds = Generator[list[Request], History, None]


def drafts(settings: SearchSettings) -> list[Request]:
    """First pictures, each from its own noise: round 0 of most strategies."""
    return [
        Request(fresh_seed(settings.seed, 0, i), action="draft")
        for i in range(settings.first_round)
    ]


def new_noise(settings: SearchSettings, past: History, position: int, improved: Candidate) -> Seed:
    """A seed not used before, or with zero-order search a step towards it from a known noise."""
    seed = fresh_seed(settings.seed, len(past.rounds), position)
    if settings.noise_search == "zero_order":
        return Neighbour(improved.seed, seed, settings.radius)
    return seed


def best_drafts(settings: SearchSettings, past: History) -> list[Candidate]:
    """The draft that each chain begins with."""
    return best_ones(settings, past.rounds[0])


def best_ones(settings: SearchSettings, candidates: Iterable[Candidate]) -> list[Candidate]:
    """What each chain begins with: the best candidates, by rank."""
    # sorted is stable: the earlier of equals ranks first. Too few take turns.
    ranked = sorted(candidates, key=lambda candidate: candidate.score, reverse=True)
    return list(islice(cycle(ranked), settings.width))


def choose_parents(
    settings: SearchSettings, before: Sequence[Candidate], latest: Sequence[Candidate]
) -> list[Candidate]:
    """What each chain goes on from: its latest picture (the paper) or its best so far.

    `before` is what it went on from before the latest; the earlier of equals stays.
    """
    if settings.parents == "latest":
        return list(latest)
    pairs = zip(before, latest, strict=True)
    return [max(pair, key=lambda candidate: candidate.score) for pair in pairs]
