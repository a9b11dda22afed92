"""The probability that a picture is right, by a judge whose error rates are known.

Pure functions. A picture is right if it meets every requirement. Each requirement has a prior,
which the judge's answers update by its rates of misses and false alarms for that kind. Answers
about the same picture are not independent: with the probability of the measured correlation, a
further look only repeats the first answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..judge_errors import NUMBER, OTHER, JudgeErrors, KindErrors, kind_of
from ..record import History, Request, Verdict
from ..verdict import Trust, is_met
from .policies import CONFIRM

WHOLE = "all that the prompt asks for"  # the one requirement of a judge that answers no single ones
# Assumed priors: shares of requirements (0 to 1), since a search cannot measure them.
BASE = 0.8  # met by a picture painted from text
NUMBERS = 0.6  # the same for numbers, which painters find hardest
WEIGHT = 6  # how many observed requirements a prior weighs as much as
OPEN = 0.3  # least posterior of a picture that the judge is asked about again
SURE = 0.999  # correlation from which a further look tells nothing
MISSING = 0.05  # a judge is known to miss a kind if the lower end of its interval is above this


@dataclass(frozen=True, slots=True)
class Change:
    """What a correction does to requirements: the shares (0 to 1) of met ones that stay met
    (`kept`), and of unmet ones that become met (`gained`)."""

    kept: float
    gained: float

    def after(self, met: float) -> float:
        """The probability that a requirement is met afterwards, from that before."""
        return self.kept * met + self.gained * (1 - met)


CORRECTED = Change(0.95, 0.45)  # assumed, too
REPAINTED = Change(0.95, 0.2)  # with nothing to change

Look = Mapping[str, bool]  # whether each requirement is met, by its statement


@dataclass(frozen=True, slots=True)
class Rates:
    """Probabilities that a judge calls a requirement met: if it is (`right`) or not (`wrong`)."""

    right: float
    wrong: float

    def likelihoods(self, answers: Sequence[bool], correlation: float) -> tuple[float, float]:
        """The probabilities of all answers about one requirement, if it is met and if it is not."""
        return (
            _likelihood(answers, self.right, correlation),
            _likelihood(answers, self.wrong, correlation),
        )


def _likelihood(answers: Sequence[bool], yes: float, correlation: float) -> float:
    """With probability `correlation` all answers repeat the first, else they are independent."""
    each = [yes if answer else 1 - yes for answer in answers]
    repeated = each[0] if len({*answers}) == 1 else 0.0
    return correlation * repeated + (1 - correlation) * math.prod(each)


def updated(prior: float, answers: Sequence[bool], rates: Rates, correlation: float) -> float:
    """The probability that a requirement is met, given all answers about it (Bayes' rule).

    If the rates rule out such answers, only the first one counts.
    """
    met, unmet = rates.likelihoods(answers, correlation)
    if prior * met + (1 - prior) * unmet == 0:
        met, unmet = rates.likelihoods(answers[:1], correlation)
    total = prior * met + (1 - prior) * unmet
    return prior * met / total if total else prior


def rates_of(errors: JudgeErrors, statement: str) -> Rates:
    """The judge's rates for the kind of a requirement, or over all kinds if that was not measured.

    Half an error is added to each count (Jeffreys' prior), so that no rate is 0 or 1.
    """
    kind = errors.of(OTHER if statement == WHOLE else kind_of(statement))
    total = errors.total
    missed = kind if kind.wrong_shown else total
    alarmed = kind if kind.right_shown else total
    return Rates(1 - _smoothed_alarms(alarmed), _smoothed_misses(missed))


def _smoothed_misses(found: KindErrors) -> float:
    return (found.missed + 0.5) / (found.wrong_shown + 1)


def _smoothed_alarms(found: KindErrors) -> float:
    return (found.false_alarms + 0.5) / (found.right_shown + 1)


def correlation_of(errors: JudgeErrors) -> float:
    """How often a further look repeats the first, 0 to 1; 1 if that was not measured."""
    return 1.0 if errors.correlation is None else min(1.0, max(0.0, errors.correlation))


def priors(
    statements: Sequence[str], request: Request, past: History, errors: JudgeErrors
) -> dict[str, float]:
    """The probability that a picture meets each requirement, before the judge has looked at it.

    A correction mostly keeps what its parent met, and may gain what it did not. Any other picture
    has the average of pictures painted from text in this search so far, which begins as BASE.
    """
    known = request.parent.verdict.trust if request.parent and request.corrects else None
    if known is None or request.parent is None:
        return {name: base_rate(past, kind_of(name)) for name in statements}
    if request.action != CONFIRM:
        return {name: CORRECTED.after(known.beliefs.get(name, BASE)) for name in statements}
    again = [c.verdict.trust for c in past if c.parent is request.parent and c.action == CONFIRM]
    repaints = [trust for trust in again if trust is not None]
    return {
        name: REPAINTED.after(reconsidered(name, known, repaints, errors)) for name in statements
    }


def reconsidered(name: str, known: Trust, repaints: Sequence[Trust], errors: JudgeErrors) -> float:
    """The belief in a requirement of a picture, updated by the answers about repaints of it.

    Their pixels differ, so the judge's errors about them are independent.
    """
    belief, rates = known.beliefs.get(name, BASE), rates_of(errors, name)
    for trust in repaints:
        answers = [name not in unmet for unmet in trust.looks]
        met, unmet = rates.likelihoods(answers, correlation_of(errors))
        if_met = REPAINTED.kept * met + (1 - REPAINTED.kept) * unmet
        if_not = REPAINTED.gained * met + (1 - REPAINTED.gained) * unmet
        total = belief * if_met + (1 - belief) * if_not
        belief = belief * if_met / total if total else belief
    return belief


def base_rate(past: History, kind: str) -> float:
    """The estimated share of requirements of a kind that pictures painted from text meet."""
    beliefs = [
        belief
        for candidate in past.finished
        if candidate.verdict.trust is not None and candidate.parent is None
        for name, belief in candidate.verdict.trust.beliefs.items()
        if kind_of(name) == kind
    ]
    stated = NUMBERS if kind == NUMBER else BASE
    return (WEIGHT * stated + sum(beliefs)) / (WEIGHT + len(beliefs))


def answers_of(verdict: Verdict, by_requirement: bool) -> dict[str, bool]:
    """A verdict's answer for each requirement, or for the whole picture if it has no single ones.

    Empty if it does not say whether the picture passed.
    """
    if verdict.passed is None:
        return {}
    if by_requirement:
        return {statement: is_met(p) for statement, p in verdict.aspects.items()}
    return {WHOLE: verdict.passed}


def trust_in(looks: Sequence[Look], prior: Mapping[str, float], errors: JudgeErrors) -> Trust:
    """The trust in a picture after several looks, which all answer the same requirements."""
    correlation = correlation_of(errors)
    beliefs = {
        name: updated(p, [look[name] for look in looks], rates_of(errors, name), correlation)
        for name, p in prior.items()
    }
    unmet = tuple(tuple(name for name, met in look.items() if not met) for look in looks)
    return Trust(math.prod(beliefs.values()), MappingProxyType(beliefs), unmet)


def trusted_verdict(
    verdicts: Sequence[Verdict],
    request: Request,
    past: History,
    errors: JudgeErrors,
    bound: float,
    by_requirement: bool,
) -> Verdict:
    """The verdict on a picture after all looks at it, with its trust.

    Looks that could not be judged, or that answer other requirements, are ignored; if the first one
    could not be judged, it is returned unchanged.
    """
    first = answers_of(verdicts[0], by_requirement)
    if not first:
        return verdicts[0]
    looks = [answers_of(verdict, by_requirement) for verdict in verdicts]
    useful = [look for look in looks if look.keys() == first.keys()]
    trust = trust_in(useful, priors([*first], request, past, errors), errors)
    alone = bound > 0 and len(useful) == 1 and rests_on_one_pass(first, request, errors)
    return final_verdict(verdicts, trust, math.inf if alone else bound)


def rests_on_one_pass(look: Look, request: Request, errors: JudgeErrors) -> bool:
    """Whether a single look supports a requirement of a kind that the judge is known to miss.

    The parent of a correction supports what was found met there, too.
    """
    parent = request.parent.verdict.trust if request.parent and request.corrects else None
    seen = parent.beliefs.keys() - set().union(*parent.looks) if parent else set()
    return any(met and misses(errors, name) for name, met in look.items() if name not in seen)


def misses(errors: JudgeErrors, statement: str) -> bool:
    """Whether the judge is known to accept wrong statements of that kind."""
    kind = errors.of(OTHER if statement == WHOLE else kind_of(statement))
    shown = kind if kind.wrong_shown else errors.total
    return shown.miss_interval[0] > MISSING


def final_verdict(verdicts: Sequence[Verdict], trust: Trust, bound: float) -> Verdict:
    """The verdict after all looks, with `passed` decided by the posterior.

    * At `bound` or above, the picture passes, even if the judge found a fault in it: answers about
      other pictures of that scene may outweigh it. With an infinite bound nothing passes.
    * Below, it is undecided (None) if no look found a fault, or if one passed and the picture is
      likelier right than wrong.
    * Otherwise it has failed, by the first look that found a fault.
    """
    if trust.posterior >= bound:
        best = max(verdicts, key=lambda verdict: bool(verdict.passed))
        return replace(best, passed=True, unmet=(), evidence=(), trust=trust)
    passes = [verdict for verdict in verdicts if verdict.passed]
    failed = next((verdict for verdict in verdicts if verdict.passed is False), None)
    if failed is None or (passes and trust.posterior >= 0.5):
        return replace(passes[0] if passes else verdicts[0], passed=None, trust=trust)
    return replace(failed, trust=trust)


def may_be_right(verdict: Verdict) -> bool:
    """Whether a picture may be right but is not trusted yet, so that asking again may help."""
    return verdict.trust is not None and not verdict.passed and verdict.trust.posterior >= OPEN
