"""ReflectionFlow (§3.4, Appendix C): chains of pictures, each made from the one before.

The other strategies are built from the same parts: drafts, noise, parents and corrections.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import cycle, islice

from ...record import Candidate, History, Neighbour, Request, Seed
from ...settings import SearchSettings
from ..seeds import fresh_seed

# A running strategy: it yields the requests of a round, any number of them, and is sent the History
# after that round, without its cost. A return, or a round without requests, ends the search.
# It must be deterministic, since a resumed search replays it from the start. A resumed search may
# have another depth, stop rule or budget, so what a round paints must not depend on these; `depth`
# only says when to end.
Rounds = Generator[list[Request], History, None]

CORRECT = "correct"  # the action of a correction


def reflection(settings: SearchSettings) -> Rounds:
    """Each round makes one picture per chain from its parent, along the axes of the settings."""
    past = yield drafts(settings)
    parents = best_candidates(settings, past.eligible or past)
    for _ in range(settings.depth):
        past = yield [correction(settings, past, i, parent) for i, parent in enumerate(parents)]
        parents = choose_parents(settings, parents, latest=past.rounds[-1])


def drafts(settings: SearchSettings) -> list[Request]:
    """The first pictures, each from its own noise: round 0 of most strategies."""
    return [
        Request(fresh_seed(settings.seed, 0, i), action="draft")
        for i in range(settings.draft_count)
    ]


def new_noise(settings: SearchSettings, past: History, position: int, origin: Candidate) -> Seed:
    """A new seed; with zero-order search, a step towards it from the noise of `origin`."""
    seed = fresh_seed(settings.seed, len(past.rounds), position)
    if settings.noise_search == "zero_order":
        return Neighbour(origin.seed, seed, settings.radius)
    return seed


def best_candidates(settings: SearchSettings, candidates: Iterable[Candidate]) -> list[Candidate]:
    """The best `width` candidates; if there are fewer, they are repeated in turn.

    With the noise axis, candidates that could not be judged are used only if none was judged: they
    have no known fault to correct. Without it, a repeated candidate would give the same picture.
    """
    known = list(candidates)
    if "noise" in settings.axes:
        known = [candidate for candidate in known if candidate.verdict.judged] or known
    # Sureness decides which equals are chosen, but not their order: the earlier one comes first.
    best = sorted(known, key=lambda candidate: candidate.merit, reverse=True)[: settings.width]
    chosen = {id(candidate) for candidate in best}
    ranked = sorted(known, key=lambda candidate: candidate.rank, reverse=True)
    return list(islice(cycle(c for c in ranked if id(c) in chosen), settings.width))


def choose_parents(
    settings: SearchSettings, before: Sequence[Candidate], latest: Sequence[Candidate]
) -> list[Candidate]:
    """What each chain continues from: its latest picture (as in the paper) or its best so far.

    A chain stays with its picture `before` the latest one if that has `broken` something, if only
    that could not be judged, or, for "best", if both rank equally.
    """
    accepted = [old if new.broken else new for old, new in zip(before, latest, strict=True)]
    pairs = zip(before, accepted, strict=True)
    if settings.parents == "latest":
        return [new if new.verdict.judged or not old.verdict.judged else old for old, new in pairs]
    return [max(pair, key=lambda candidate: candidate.rank) for pair in pairs]


def correction(
    settings: SearchSettings, past: History, position: int, parent: Candidate
) -> Request:
    """A request that changes a parent along the axes; without the noise axis it keeps its noise.

    Its action names the axis that changes most.
    """
    axes = settings.axes
    corrects, evolves = "reflection" in axes, "prompt" in axes
    return Request(
        seed=new_noise(settings, past, position, parent) if "noise" in axes else parent.seed,
        parent=parent,
        corrects=corrects,
        evolves=evolves,
        action=CORRECT if corrects else "evolve" if evolves else "noise",
    )
