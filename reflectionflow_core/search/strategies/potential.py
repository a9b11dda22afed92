"""Potential assessment (PARM, Guo et al. 2025): hopeless pictures are dropped before they are
painted, and their steps are spent on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...record import Candidate, History, SearchSettings
from ..task import Plan, Task
from .origins import best_ones, drafts, new_noise
from .reflection import correction


def potential(settings: SearchSettings) -> Plan:
    """Each picture is foreseen, and painted only if it promises to improve on what it goes on from.

    A round has as many pictures as the steps pay that `width` a round would have taken so far. With
    no axis but noise they are new pictures, else corrections of the chains' best so far, by turns.
    """
    begun, size = drafts(settings), settings.batch_size
    past = yield [*begun[:size], *_tentative(begun[size:])]  # the first have nothing to improve on
    chains = best_ones(settings, past.finished)
    for index in range(1, settings.depth + 1):
        paid = range(_paid(settings, past, index))
        past = yield _tentative([_task(settings, past, i, chains) for i in paid])
        chains = _grown(chains, past.rounds[-1])


def _tentative(tasks: Sequence[Task]) -> list[Task]:
    return [replace(task, tentative=True) for task in tasks]


def _task(
    settings: SearchSettings, past: History, position: int, chains: Sequence[Candidate]
) -> Task:
    if settings.axes == ("noise",):
        return Task(new_noise(settings, past, position, past.best), action="noise")
    return correction(settings, past, position, chains[position % len(chains)])


def _paid(settings: SearchSettings, past: History, index: int) -> int:
    """How many whole pictures the steps that are left until the end of round `index` pay for."""
    price = past.rounds[0][0].steps  # nobody looked before the first was painted
    planned = (settings.first_round + index * settings.width) * price
    spent = sum(candidate.steps for candidate in past)
    return max(1, (planned - spent) // max(1, price))


def _grown(chains: Sequence[Candidate], latest: Sequence[Candidate]) -> list[Candidate]:
    """The best of each chain with what its turns of the latest round have added."""
    grown = list(chains)
    for position, candidate in enumerate(latest):
        chain = position % len(grown)
        if candidate.finished and candidate.score > grown[chain].score:
            grown[chain] = candidate
    return grown
