"""Chains that each do what their verdicts call for: a policy decides, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...record import Candidate, History, Request
from ...settings import Axis, SearchSettings
from ..policies import (
    BACKTRACK,
    CONFIRM,
    CONTINUE,
    EVOLVE,
    FRESH,
    STARTS,
    STOP,
    best_of,
    doubted,
    policy_named,
    since_start,
)
from ..seeds import fresh_seed
from .reflection import Rounds, best_candidates, correction, drafts

DRAFT = "draft"  # how a chain begins


def adaptive(settings: SearchSettings) -> Rounds:
    """A single draft at first; more chains and more rounds as the prompt proves hard (§4.4).

    Round 0 paints `drafts` pictures, or one where that is left open, and the best of them begin a
    chain each. In every later round each chain does what the policy says, and while there are fewer
    than `width` chains another one begins with a draft. When all chains stop, so does the search.
    A pass that the judge's known errors leave in doubt is painted again first, with nothing to
    change: if that passes too, both judgements count.
    """
    decide = policy_named(settings.policy)
    first = settings if settings.drafts else replace(settings, drafts=1)
    past = yield drafts(first)
    begun = min(settings.width, first.draft_count)
    chains = [[draft] for draft in best_candidates(settings, past.eligible or past)[:begun]]
    for _ in range(settings.depth):
        if doubt := doubted(settings, past, chains):
            past = yield [step(settings, past, 0, doubt, CONFIRM)]
            doubt.append(past.rounds[-1][0])
            continue
        decided = [(chain, decide(settings, past, chain)) for chain in chains]
        moves = [(chain, action) for chain, action in decided if action != STOP]
        if not moves:
            return
        if len(chains) < settings.width:
            chains.append([])
            moves.append((chains[-1], DRAFT))
        # A correction is likelier to pass than a beginning, and a pass may end the round.
        moves.sort(key=lambda move: move[1] in (DRAFT, *STARTS))
        past = yield [step(settings, past, i, *move) for i, move in enumerate(moves)]
        for (chain, _), candidate in zip(moves, past.rounds[-1], strict=True):
            chain.append(candidate)


def step(
    settings: SearchSettings, past: History, position: int, chain: Sequence[Candidate], action: str
) -> Request:
    """The picture that an action paints."""
    action = within(settings.axes, action)
    if action in (DRAFT, FRESH):
        return Request(fresh_seed(settings.seed, len(past.rounds), position), action=action)
    if action == EVOLVE:
        axes = tuple(axis for axis in settings.axes if axis != "reflection")
        settings = replace(settings, axes=axes)
    if action == CONFIRM:
        parent = past.best
    else:
        # Nobody knows what to correct in a picture that could not be judged.
        latest = action == CONTINUE and chain[-1].verdict.judged and not chain[-1].broken
        parent = chain[-1] if latest else best_of(since_start(chain))
    return replace(correction(settings, past, position, parent), action=action)


def within(axes: Sequence[Axis], action: str) -> str:
    """The nearest to an action that the axes allow: without new noise nothing starts again."""
    if action == EVOLVE and "prompt" not in axes:
        action = FRESH
    return CONTINUE if action in (BACKTRACK, FRESH, EVOLVE) and "noise" not in axes else action
