"""The verdict on a picture that nobody could judge."""

from __future__ import annotations

from ..record import Verdict

_UNJUDGED = "The picture could not be judged: "


def unjudged(score: float, reason: str) -> Verdict:
    """A verdict that loses against every judged picture, where `score` is lower than theirs."""
    return Verdict(score, passed=None, explanation=f"{_UNJUDGED}{reason}")


def was_judged(verdict: Verdict) -> bool:
    """False where the verifier failed, so that the score says nothing of the picture."""
    return not verdict.explanation.startswith(_UNJUDGED)
