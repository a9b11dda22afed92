"""Adaptive search: a policy decides for each chain and round what to do, from the verdicts."""

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
    chain_to_confirm,
    policy_named,
    since_start,
)
from ..seeds import fresh_seed
from .reflection import Rounds, best_candidates, correction, drafts

DRAFT = "draft"  # how a chain begins


def adaptive(settings: SearchSettings) -> Rounds:
    """Begins with a single draft; adds chains and rounds for hard prompts (§4.4).

    Round 0 paints `drafts` pictures (1 by default), and the best of them each begin a chain. In
    every later round each chain does what the policy decides, and another chain begins with a
    draft while there are fewer than `width`. The search ends when all chains stop. A pass that is
    doubtful by the judge's known error rates is first repainted from its own prompt, with nothing
    to change: if the repaint passes too, both verdicts count.
    """
    decide = policy_named(settings.policy)
    first = settings if settings.drafts else replace(settings, drafts=1)
    past = yield drafts(first)
    begun = min(settings.width, first.draft_count)
    chains = [[draft] for draft in best_candidates(settings, past.eligible or past)[:begun]]
    for _ in range(settings.depth):
        if doubt := chain_to_confirm(settings, past, chains):
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
        # Corrections first: they are likelier to pass than drafts, and a pass may end the round.
        moves.sort(key=lambda move: move[1] in (DRAFT, *STARTS))
        past = yield [step(settings, past, i, *move) for i, move in enumerate(moves)]
        for (chain, _), candidate in zip(moves, past.rounds[-1], strict=True):
            chain.append(candidate)


def step(
    settings: SearchSettings, past: History, position: int, chain: Sequence[Candidate], action: str
) -> Request:
    """The request of an action."""
    action = allowed_action(settings.axes, action)
    if action in (DRAFT, FRESH):
        return Request(fresh_seed(settings.seed, len(past.rounds), position), action=action)
    if action == EVOLVE:
        axes = tuple(axis for axis in settings.axes if axis != "reflection")
        settings = replace(settings, axes=axes)
    if action == CONFIRM:
        asked = correction(settings, past, position, past.best)
        same = {"prompt": past.best.prompt, "evolves": False, "unchanged": True}
        return replace(asked, action=action, **same)
    # A picture that could not be judged has no known fault to correct.
    latest = action == CONTINUE and chain[-1].verdict.judged and not chain[-1].broken
    parent = chain[-1] if latest else best_of(since_start(chain))
    return replace(correction(settings, past, position, parent), action=action)


def allowed_action(axes: Sequence[Axis], action: str) -> str:
    """The action, or the closest one that the axes allow; nothing restarts without new noise."""
    if action == EVOLVE and "prompt" not in axes:
        action = FRESH
    return CONTINUE if action in (BACKTRACK, FRESH, EVOLVE) and "noise" not in axes else action
