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
# or from a rewritten one, or nothing; CONFIRM repaints a doubtful pass.
CONTINUE, BACKTRACK, FRESH, EVOLVE, STOP = "continue", "backtrack", "fresh", "evolve", "stop"
CONFIRM = "confirm"
CONFIRMATIONS = 4  # repaints of one picture
LIKELY = 0.5  # posterior from which a picture is likelier right than wrong
STARTS = (FRESH, EVOLVE)

# The chain's own pictures in the order of painting, the draft that it began with first.
Chain = Sequence[Candidate]
Policy = Callable[[SearchSettings, History, Chain], str]

DISPUTED = 0.25  # disagreement of verifiers: one sees a clear difference where another sees none


def progress(settings: SearchSettings, past: History, chain: Chain) -> str:
    """Corrects the latest picture after progress, else the best one; starts again when there were
    more steps without progress than with it.

    A correction is progress if it scores higher than all pictures since the chain last started, and
    its verifiers do not disagree about it by more than DISPUTED.

    * Once any picture has passed, every chain stops.
    * After progress the latest picture is corrected.
    * After a step without progress the best undisputed picture is corrected, with new noise.
    * After more steps without progress than with it, the chain starts again, alternately from the
      prompt and from a rewritten one. So a picture is given up at once if its first correction does
      not help.
    * A correction that could not be judged counts as neither, and is not corrected.
    """
    del settings
    if has_passed(past):
        return STOP
    start, *corrections = since_start(chain)
    run = [start, *(c for c in corrections if c.verdict.judged)]
    idle = len(run) - 1 - run.index(best_of(run))
    if idle > progress_count(run):
        return STARTS[restarts(chain) % len(STARTS)]
    return BACKTRACK if idle or not chain[-1].verdict.judged else CONTINUE


def restart(settings: SearchSettings, past: History, chain: Chain) -> str:
    """Corrects the latest picture, and starts again on the schedule of Luby et al. (1993).

    A start is corrected 1, 1, 2, 1, 1, 2, 4 ... times, whatever its verdicts: the universal restart
    schedule, a baseline for policies that look at verdicts.
    """
    del settings
    if has_passed(past):
        return STOP
    corrected = len(since_start(chain)) - 1
    return CONTINUE if corrected < luby(restarts(chain) + 1) else FRESH


def steady(settings: SearchSettings, past: History, chain: Chain) -> str:
    """Corrects the latest picture until one passes, as the strategy "reflection" does."""
    del settings, chain
    return STOP if has_passed(past) else CONTINUE


POLICIES: dict[str, Policy] = {"progress": progress, "restart": restart, "steady": steady}


def policy_named(name: str) -> Policy:
    if name not in POLICIES:
        raise InputError(
            f"There is no policy named {name!r}. Choose one of: {', '.join(POLICIES)}."
        )
    return POLICIES[name]


def has_passed(past: History) -> bool:
    return any(candidate.finished and candidate.verdict.passed for candidate in past.eligible)


def chain_to_confirm(
    settings: SearchSettings, past: History, chains: Sequence[list[Candidate]]
) -> list[Candidate] | None:
    """The chain of the best picture if that passed but is not trusted, so that it is repainted.

    None after CONFIRMATIONS repaints, or after one that is likelier wrong than right; also if
    pictures cannot be corrected, or the judge's error rates are not known.
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
    """How often the chain has started again."""
    return sum(candidate.action in STARTS for candidate in chain)


def since_start(chain: Chain) -> list[Candidate]:
    """The chain's pictures since it last started: the start first, then its corrections."""
    first = max((i for i, c in enumerate(chain) if c.action in STARTS), default=0)
    return list(chain[first:])


def best_of(run: Sequence[Candidate]) -> Candidate:
    """The best undisputed picture that broke nothing, the earliest of equals; else the first."""
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
