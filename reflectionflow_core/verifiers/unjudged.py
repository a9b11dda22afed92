"""The verdict on a picture that could not be judged."""

from __future__ import annotations

from ..record import Verdict

_UNJUDGED = "The picture could not be judged: "


def unjudged(score: float, reason: str) -> Verdict:
    """A verdict with the reason; `score` must be below those of all judged pictures."""
    return Verdict(score, passed=None, explanation=f"{_UNJUDGED}{reason}")


def was_judged(verdict: Verdict) -> bool:
    """False if the verifier failed, and the score means nothing."""
    return not verdict.explanation.startswith(_UNJUDGED)
