"""A verifier's verdict on a picture: a score, or the reason why there is none.

A picture that could not be judged has no score, since any number would look like a judgement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from .evidence import Evidence

DISAGREEMENT = "disagreement"  # the aspect of a verdict that joins those of several verifiers
SCREENED_BY = "screened by "  # before the name of an aspect that is a screen's score
NOT_LOOKED_AT = "Not looked at"  # how the explanation begins where only a screen saw the picture
NOTHING_MEASURED: Mapping[str, float] = MappingProxyType({})


# The share of a score in a rank by trust: it only orders pictures that are trusted equally.
TIE = 1e-6


@dataclass(frozen=True, slots=True)
class Trust:
    """How far to trust the verdict of a judge with known error rates.

    `posterior` (0 to 1) is the probability that the picture meets all requirements, `beliefs` that
    of each requirement, by statement. `looks` has, for each time that the judge was asked, the
    statements that it found unmet. Raises ValueError for a probability outside 0 to 1, and without
    a look.
    """

    posterior: float
    beliefs: Mapping[str, float] = field(default_factory=lambda: NOTHING_MEASURED)
    looks: tuple[tuple[str, ...], ...] = ((),)

    def __post_init__(self) -> None:
        if not self.looks:
            raise ValueError("A judge is asked at least once.")
        for value in (self.posterior, *self.beliefs.values()):
            if not 0 <= value <= 1:
                raise ValueError(f"A probability must be between 0 and 1, got {value}.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's verdict on one picture.

    * `score`: finite, higher is better; None if the picture could not be judged. Only it ranks
      candidates, by `rank`.
    * `passed`: None if the verifier does not decide it.
    * `aspects`: further numbers by name, such as the probabilities of requirements.
    * `unmet`: the requirements that failed, in words.
    * `explanation`: the verifier's reasons, or why the picture could not be judged.
    * `evidence`: where these and other things are seen, and how surely.
    * `trust`: set if the verifier's error rates are known; then it ranks candidates.

    Raises ValueError for a score that is not finite, and for a missing score without a reason or
    with a result.
    """

    score: float | None
    passed: bool | None = None
    aspects: Mapping[str, float] = field(default_factory=lambda: NOTHING_MEASURED)
    unmet: tuple[str, ...] = ()
    explanation: str = ""
    evidence: tuple[Evidence, ...] = ()
    trust: Trust | None = None

    def __post_init__(self) -> None:
        if self.score is None:
            if self.passed is not None or self.unmet or not self.explanation.strip():
                raise ValueError("A verdict without a score needs a reason and has no result.")
        elif not math.isfinite(self.score):
            raise ValueError(f"A verdict's score must be a finite number, got {self.score}.")

    @classmethod
    def unjudged(cls, reason: str, aspects: Mapping[str, float] = NOTHING_MEASURED) -> Verdict:
        """The picture could not be judged; `reason` is one sentence, such as a server's own words.

        `aspects` are what some members of an ensemble have measured nevertheless.
        """
        return cls(None, aspects=aspects, explanation=reason.strip() or "No reason was given.")

    @classmethod
    def of_score(cls, score: float) -> Verdict:
        """A model's score alone; not judged if the model gives a number that is not finite."""
        if math.isfinite(score):
            return cls(score)
        return cls.unjudged(
            f"The model's score is {score}. Download its weights again, or choose another dtype."
        )

    @property
    def judged(self) -> bool:
        return self.score is not None

    @property
    def left_out(self) -> bool:
        """Whether a screen kept the picture from the verifier; then the score only orders it."""
        return self.passed is None and self.explanation.startswith(f"{NOT_LOOKED_AT}:")

    @property
    def rank(self) -> float:
        """For comparisons only: the score, or minus infinity if there is none. With known error
        rates it is the posterior, and the score decides between equals."""
        if self.score is None:
            return -math.inf
        if self.trust is None:
            return self.score
        return self.trust.posterior + TIE * self.score / (1 + abs(self.score))

    @property
    def sureness(self) -> float:
        """How clearly the picture shows what is right in it, 0 to 1: the lowest sureness of that
        evidence; 0 if there is none. It decides between pictures of equal rank."""
        seen = [each for each in self.evidence if each.text not in self.unmet]
        return min((each.sureness or 0.0 for each in seen), default=0.0)

    @property
    def doubted(self) -> bool:
        """Whether the judge passed the picture in some look, but it is not trusted enough."""
        if self.passed is not None or self.trust is None:
            return False
        return any(not unmet for unmet in self.trust.looks)

    @property
    def failure(self) -> str | None:
        """Why the picture could not be judged; None if it was."""
        return self.explanation if self.score is None else None


def is_met(p: float) -> bool:
    """Whether P(yes) of a requirement means that it is met; a tie, such as 4 of 8 samples, does
    not.

    One rule for every verifier, for the judge exam and for searches.
    """
    return p > 0.5


def best_first(verdicts: Sequence[Verdict]) -> list[int]:
    """The positions of verdicts, the best first; equals by sureness, then in order."""
    order = [(verdict.rank, verdict.sureness) for verdict in verdicts]
    return sorted(range(len(order)), key=order.__getitem__, reverse=True)
