"""ReflectionFlow (§3.4, Appendix C): chains of pictures, each made from the one before.

The other strategies are made of the same parts: drafts, noise, parents and corrections.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import cycle, islice

from ...record import Candidate, History, Neighbour, Request, Seed
from ...settings import SearchSettings
from ..seeds import fresh_seed

# A strategy at work: it yields the requests of a round, as many as it likes, and is sent the
# History after it, without its cost. A return ends the search, and so does a round without
# requests. All follows from the settings and what is sent, with no random state, since a search
# that resumes replays it from the start. It may then go deeper, stop elsewhere or spend more, so
# what a round paints must not depend on `depth`, `stop` or `budget`; `depth` only says when to end.
Rounds = Generator[list[Request], History, None]


def reflection(settings: SearchSettings) -> Rounds:
    """One picture a chain and a round, made from its parent along the axes of the settings."""
    past = yield drafts(settings)
    parents = best_candidates(settings, past.eligible or past)
    for _ in range(settings.depth):
        past = yield [correction(settings, past, i, parent) for i, parent in enumerate(parents)]
        parents = choose_parents(settings, parents, latest=past.rounds[-1])


def drafts(settings: SearchSettings) -> list[Request]:
    """First pictures, each from its own noise: round 0 of most strategies."""
    return [
        Request(fresh_seed(settings.seed, 0, i), action="draft")
        for i in range(settings.draft_count)
    ]


def new_noise(settings: SearchSettings, past: History, position: int, origin: Candidate) -> Seed:
    """A seed not used before; with zero-order search a step towards it from the origin's noise."""
    seed = fresh_seed(settings.seed, len(past.rounds), position)
    if settings.noise_search == "zero_order":
        return Neighbour(origin.seed, seed, settings.radius)
    return seed


def best_candidates(settings: SearchSettings, candidates: Iterable[Candidate]) -> list[Candidate]:
    """The best `width` candidates; too few are repeated in turn.

    One that could not be judged is taken only if none was, or if too few would be repeated without
    new noise, to the same picture: nobody knows what to correct in it.
    """
    known = list(candidates)
    if "noise" in settings.axes:
        known = [candidate for candidate in known if candidate.verdict.judged] or known
    # Who is surer decides who goes on, not in which chain: the earlier of equals comes first.
    best = sorted(known, key=lambda candidate: candidate.merit, reverse=True)[: settings.width]
    chosen = {id(candidate) for candidate in best}
    ranked = sorted(known, key=lambda candidate: candidate.rank, reverse=True)
    return list(islice(cycle(c for c in ranked if id(c) in chosen), settings.width))


def choose_parents(
    settings: SearchSettings, before: Sequence[Candidate], latest: Sequence[Candidate]
) -> list[Candidate]:
    """What each chain continues from: its latest picture (the paper) or its best so far.

    `before` is what it continued from before the latest; the earlier of equals stays. It also
    stays if only the latest could not be judged: nobody knows what to correct in that. A latest
    picture that has `broken` something is not continued either.
    """
    accepted = [old if new.broken else new for old, new in zip(before, latest, strict=True)]
    pairs = zip(before, accepted, strict=True)
    if settings.parents == "latest":
        return [new if new.verdict.judged or not old.verdict.judged else old for old, new in pairs]
    return [max(pair, key=lambda candidate: candidate.rank) for pair in pairs]


def correction(
    settings: SearchSettings, past: History, position: int, parent: Candidate
) -> Request:
    """A parent changed along the axes; without the noise axis the picture keeps its noise.

    The action is the word for the axis that changes most.
    """
    axes = settings.axes
    corrects, evolves = "reflection" in axes, "prompt" in axes
    return Request(
        seed=new_noise(settings, past, position, parent) if "noise" in axes else parent.seed,
        parent=parent,
        corrects=corrects,
        evolves=evolves,
        action="correct" if corrects else "evolve" if evolves else "noise",
    )
