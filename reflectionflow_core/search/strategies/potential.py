"""Potential assessment (PARM, Guo et al. 2025): hopeless previews free steps for other pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...record import Candidate, History, Request
from ...settings import SearchSettings
from .reflection import Rounds, best_candidates, correction, drafts, new_noise


def potential(settings: SearchSettings) -> Rounds:
    """Each picture is previewed, and painted only if its preview beats its parent.

    A round has as many pictures as its steps pay for: those of `width` pictures per round so far,
    less what was spent. With noise as the only axis they are new pictures, otherwise corrections of
    the chains' best pictures, in turn.
    """
    begun, size = drafts(settings), settings.batch_size
    past = yield [
        *begun[:size],
        *_speculative(begun[size:]),
    ]  # the first have nothing to compare with
    chains = best_candidates(settings, [c for c in past.eligible if c.finished] or past.finished)
    for index in range(1, settings.depth + 1):
        paid = range(_paid_count(settings, past, index))
        past = yield _speculative([_request(settings, past, i, chains) for i in paid])
        chains = _with_latest(chains, past.rounds[-1])


def _speculative(requests: Sequence[Request]) -> list[Request]:
    return [replace(request, speculative=True) for request in requests]


def _request(
    settings: SearchSettings, past: History, position: int, chains: Sequence[Candidate]
) -> Request:
    if settings.axes == ("noise",):
        return Request(new_noise(settings, past, position, past.best), action="noise")
    return correction(settings, past, position, chains[position % len(chains)])


def _paid_count(settings: SearchSettings, past: History, index: int) -> int:
    """How many whole pictures the steps left until the end of round `index` pay for."""
    price = past.rounds[0][0].steps  # the first was painted without a preview
    planned = (settings.draft_count + index * settings.width) * price
    spent = sum(candidate.steps for candidate in past)
    return max(1, (planned - spent) // max(1, price))


def _with_latest(chains: Sequence[Candidate], latest: Sequence[Candidate]) -> list[Candidate]:
    """The best picture of each chain, the latest round included."""
    best = list(chains)
    for position, candidate in enumerate(latest):
        chain = position % len(best)
        if candidate.finished and not candidate.broken and candidate.rank > best[chain].rank:
            best[chain] = candidate
    return best
