"""Scouts: many previews of a few steps; only those that look right are finished.

Corrections, rewritten prompts and new drafts are mixed, as in RAISE (arXiv 2603.00483). A preview
can be corrected like a picture, so a failed attempt costs only the few steps of a preview.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from ...record import Candidate, History, Region, Request, Restart
from ...regions import joined
from ...settings import SearchSettings
from ..budget import FINISH_LEVEL
from ..policies import EVOLVE, FRESH, LIKELY, has_passed
from ..seeds import fresh_seed
from .reflection import CORRECT, Rounds, correction, drafts, new_noise

FINISH = "finish"  # a picture finished from a scout's preview
WHOLE = "whole"  # a picture painted with all steps, from a scout's noise and texts
PAINTED = (FINISH, WHOLE)
PATIENCE = 8  # scouts, after which the best is finished if it looks better than the finished ones
TURNS = 3  # every third scout is a new draft, alternately from the prompt and from a rewritten one


def scouts(settings: SearchSettings) -> Rounds:
    """One finished draft; then rounds of `width` scouts, and a round for each scout to finish.

    The best scout that passes is finished at once; if the picture does not pass, it is painted
    again from the scout's noise with all steps. If no scout passes, or the verifier cannot tell,
    the best one is finished after PATIENCE scouts, if it ranks above the finished pictures. A
    finished picture that passes ends the search. A scout that passes in the last round is finished
    in a round more.
    """
    past = yield drafts(settings if settings.drafts else replace(settings, drafts=1))
    for _ in range(settings.depth):
        if has_passed(past):
            return
        if (scout := scout_to_finish(past)) is not None:
            past = yield [finish(settings, past, scout)]
        else:
            sent = sum(candidate.action not in PAINTED for candidate in past)
            parents = worth_correcting(past.eligible, settings.width)
            past = yield [
                scout_of(settings, past, position, sent + position, parents)
                for position in range(settings.width)
            ]
    while not has_passed(past) and (scout := scout_to_finish(past)) and looks_right(scout):
        past = yield [finish(settings, past, scout)]


def finish(settings: SearchSettings, past: History, scout: Candidate) -> Request:
    """The request that makes a scout a picture: finished from its preview, or, if that has failed,
    painted from its noise and texts with all steps.
    """
    region = changed_in(scout)
    if any(c.action == FINISH and c.parent is scout for c in past):
        return Request(
            scout.seed,
            scout.prompt,
            scout.parent,
            scout.reflection,
            corrects=scout.action == CORRECT,
            action=WHOLE,
            region=region,
            unchanged=not scout.reflection,
        )
    seed = Restart(fresh_seed(settings.seed, len(past.rounds), 0), FINISH_LEVEL)
    return Request(seed, parent=scout, action=FINISH, region=region)


def changed_in(scout: Candidate) -> Region | None:
    """Where a scout differs from its latest finished ancestor; None means anywhere."""
    unfinished = list(takewhile(lambda each: not each.finished, reversed(scout.lineage)))
    regions = [each.region for each in unfinished if each.region is not None]
    return joined(regions) if len(regions) == len(unfinished) else None


def scout_to_finish(past: History) -> Candidate | None:
    """The scout to finish next; None if more scouts are to be sent first."""
    last = past.rounds[-1][0]
    scout = last.parent if last.action == FINISH else None
    if scout and looks_right(scout) and any(scout is each for each in past.eligible):
        return None if last.verdict.passed else scout
    finished = {id(candidate.parent) for candidate in past if candidate.action == FINISH}
    looks = [c for c in past.eligible if not c.finished and c.verdict.judged]
    waiting = [look for look in looks if id(look) not in finished]
    if passed := [scout for scout in waiting if looks_right(scout)]:
        return max(passed, key=rank)
    best = max(waiting, key=rank, default=None)
    if best is None or scouts_since_painting(past) < PATIENCE:
        return None
    return best if best.rank > past.best.rank else None


def looks_right(scout: Candidate) -> bool:
    """Whether a scout passed, or is likelier right than wrong by the judge's known error rates;
    certainty is left to the finished picture, which the judge is asked about again.
    """
    trust = scout.verdict.trust
    return bool(scout.verdict.passed) or (trust is not None and trust.posterior >= LIKELY)


def scouts_since_painting(past: History) -> int:
    """How many scouts there are since the last finished picture; the first one always is."""
    return len(past) - 1 - max(i for i, candidate in enumerate(past) if candidate.finished)


def worth_correcting(past: Iterable[Candidate], width: int) -> list[Candidate]:
    """At most `width` pictures to correct next, finished or scouts.

    They are ordered by their place in the ranking plus the number of corrections that they had, so
    the best comes first, and the next best after it was tried. Pictures that passed or have broken
    something are left out.
    """
    known = [c for c in past if c.verdict.judged and not c.broken]
    tried = [id(c.parent) for c in known if c.action not in (FINISH, EVOLVE)]
    ranked = sorted((c for c in known if not c.verdict.passed), key=rank, reverse=True)
    order = sorted(
        range(len(ranked)), key=lambda place: (place + tried.count(id(ranked[place])), place)
    )
    return [ranked[place] for place in order[:width]]


def scout_of(
    settings: SearchSettings,
    past: History,
    position: int,
    number: int,
    parents: Sequence[Candidate],
) -> Request:
    """The request of one scout; `number` counts the drafts and scouts of a search from 0."""
    turn, rest = divmod(number, TURNS)
    if not parents or (rest == TURNS - 1 and not (turn % 2 and "prompt" in settings.axes)):
        seed = fresh_seed(settings.seed, len(past.rounds), position)
        return Request(seed, action=FRESH, scout=True)
    parent = parents[position % len(parents)]
    if rest == TURNS - 1:
        parent, settings = parents[0], replace(settings, axes=("noise", "prompt"))
    asked = correction(settings, past, position, parent)
    seed = new_noise(settings, past, position, first_look(parent))
    action = EVOLVE if rest == TURNS - 1 else asked.action
    return replace(asked, seed=seed, action=action, scout=True)


def first_look(picture: Candidate) -> Candidate:
    """The scout that a picture was finished from, whose noise it began with; else the picture."""
    return picture.parent if picture.action == FINISH and picture.parent else picture


def rank(candidate: Candidate) -> float:
    return candidate.rank
