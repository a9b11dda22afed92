"""What a verifier says of a picture: a judgement with a score, or why there is none.

A picture that could not be judged has no score, since every number would be taken for a judgement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .evidence import Evidence

DISAGREEMENT = "disagreement"  # the aspect of a verdict that joins those of several verifiers
NOTHING_MEASURED: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one picture.

    Only `score` orders candidates (higher is better); it is finite, or None where the picture could
    not be judged, and then `explanation` says why. Compare pictures by `rank`, which every verdict
    has. `passed` is None where the verifier cannot tell. `unmet` lists the requirements that
    failed, in words; `evidence` says where they and other things are seen, and how surely. Raises
    ValueError for a score that is not finite, and for one that is missing without a reason or
    beside a result.
    """

    score: float | None
    passed: bool | None = None
    aspects: Mapping[str, float] = field(default_factory=lambda: NOTHING_MEASURED)
    unmet: tuple[str, ...] = ()
    explanation: str = ""
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self) -> None:
        if self.score is None:
            if self.passed is not None or self.unmet or not self.explanation.strip():
                raise ValueError("A verdict without a score needs a reason and has no result.")
        elif not math.isfinite(self.score):
            raise ValueError(f"A verdict's score must be a finite number, got {self.score}.")

    @classmethod
    def unjudged(cls, reason: str, aspects: Mapping[str, float] = NOTHING_MEASURED) -> Verdict:
        """The picture could not be judged; `reason` is one sentence, such as a server's own words.

        `aspects` are what some of several verifiers have measured all the same.
        """
        return cls(None, aspects=aspects, explanation=reason.strip() or "No reason was given.")

    @property
    def judged(self) -> bool:
        return self.score is not None

    @property
    def rank(self) -> float:
        """The score, or minus infinity: below every judged picture. For comparisons only."""
        return -math.inf if self.score is None else self.score

    @property
    def failure(self) -> str | None:
        """Why the picture could not be judged; None for a judged one."""
        return self.explanation if self.score is None else None
