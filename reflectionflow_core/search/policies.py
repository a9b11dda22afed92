"""Policies: what a chain of the strategy "adaptive" does next, decided from its verdicts.

A policy is a function of the settings, all that was painted and one chain. It asks no actor and has
no state, so a search that resumes decides as it did before. A new one is a function and a row in
POLICIES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..record import DISAGREEMENT, Candidate, History, InputError
from ..settings import SearchSettings

# What a chain may do: correct its latest picture, correct its best one, start again from the prompt
# or from a rewritten prompt, or nothing; CONFIRM corrects a pass that is in doubt.
CONTINUE, BACKTRACK, FRESH, EVOLVE, STOP = "continue", "backtrack", "fresh", "evolve", "stop"
CONFIRM = "confirm"
CONFIRMATIONS = 4  # of one picture
LIKELY = 0.5
STARTS = (FRESH, EVOLVE)

# The chain's own pictures in the order of painting, the draft that it began with first.
Chain = Sequence[Candidate]
Policy = Callable[[SearchSettings, History, Chain], str]

DISPUTED = 0.25  # of verifiers: one finds a clear difference where another finds none


def progress(settings: SearchSettings, past: History, chain: Chain) -> str:
    """Corrects the latest picture after progress, the best one after a step without; starts again
    when there were more steps without progress than with it.

    Once any picture has passed, every chain stops: easy prompts end with their first draft, hard
    ones get depth. A correction is progress if it scores higher than all before it since the chain
    last started, and its verifiers do not disagree about it by more than DISPUTED. After progress
    the latest picture is corrected. After a step without progress the best one is corrected again,
    by new words from new noise; a disputed picture is not taken for the best. Patience is earned:
    after more steps without progress than steps with it, the chain starts again, by turns from the
    prompt as it is and from a rewritten one. So a picture that the first correction does not help
    is given up at once. Verdicts that cannot tell what passed never stop it; `depth` and the budget
    do. A correction that could not be judged is neither step, and is not corrected.
    """
    del settings
    if solved(past):
        return STOP
    start, *corrections = since_start(chain)
    run = [start, *(c for c in corrections if c.verdict.judged)]
    idle = len(run) - 1 - run.index(best_of(run))
    if idle > progress_count(run):
        return STARTS[restarts(chain) % len(STARTS)]
    return BACKTRACK if idle or not chain[-1].verdict.judged else CONTINUE


def restart(settings: SearchSettings, past: History, chain: Chain) -> str:
    """Corrects the latest picture, and starts again on the schedule of Luby et al. (1993).

    A start is corrected 1, 1, 2, 1, 1, 2, 4 ... times, whatever its verdicts: the schedule for luck
    of an unknown kind, and what a policy that looks at verdicts has to beat.
    """
    del settings
    if solved(past):
        return STOP
    corrected = len(since_start(chain)) - 1
    return CONTINUE if corrected < luby(restarts(chain) + 1) else FRESH


def steady(settings: SearchSettings, past: History, chain: Chain) -> str:
    """Corrects the latest picture until one passes, as the strategy "reflection" does."""
    del settings, chain
    return STOP if solved(past) else CONTINUE


POLICIES: dict[str, Policy] = {"progress": progress, "restart": restart, "steady": steady}


def policy_named(name: str) -> Policy:
    if name not in POLICIES:
        raise InputError(
            f"There is no policy named {name!r}. Choose one of: {', '.join(POLICIES)}."
        )
    return POLICIES[name]


def solved(past: History) -> bool:
    return any(candidate.finished and candidate.verdict.passed for candidate in past.eligible)


def doubted(
    settings: SearchSettings, past: History, chains: Sequence[list[Candidate]]
) -> list[Candidate] | None:
    """The chain of the best picture, if that passed, is not trusted, and is to be painted again.

    That is so until CONFIRMATIONS repaints, or one that is likelier wrong than right; only where
    pictures can be corrected, and the judge's errors are known.
    """
    best = past.best
    if "reflection" not in settings.axes or not best.verdict.doubted:
        return None
    repaints = [c.verdict.trust for c in past if c.parent is best and c.action == CONFIRM]
    given_up = any(trust is None or trust.posterior < LIKELY for trust in repaints)
    if given_up or len(repaints) >= CONFIRMATIONS:
        return None
    return next((chain for chain in chains if best in chain), None)


def restarts(chain: Chain) -> int:
    """How often the chain started again."""
    return sum(candidate.action in STARTS for candidate in chain)


def since_start(chain: Chain) -> list[Candidate]:
    """The chain's pictures since it last started: the start first, then its corrections."""
    first = max((i for i, c in enumerate(chain) if c.action in STARTS), default=0)
    return list(chain[first:])


def best_of(run: Sequence[Candidate]) -> Candidate:
    """The best picture that verifiers agree about and that has broken nothing, the earliest of
    equals; or else the first."""
    unbroken = [c for c in run if not c.broken]
    agreed = [c for c in unbroken if c.verdict.aspects.get(DISAGREEMENT, 0.0) <= DISPUTED]
    return max(agreed or run[:1], key=lambda candidate: candidate.rank)


def progress_count(run: Sequence[Candidate]) -> int:
    """How many corrections were progress."""
    ends = (best_of(run[:length]) for length in range(1, len(run) + 1))
    return len(set(ends)) - 1


def luby(number: int) -> int:
    """The terms 1, 1, 2, 1, 1, 2, 4, 1 ... of Luby's sequence, from `number` 1 on."""
    power = number.bit_length()
    if number == 2**power - 1:
        return 2 ** (power - 1)
    return luby(number - 2 ** (power - 1) + 1)
