"""The verdict on a picture that nobody could judge."""

from __future__ import annotations

from ..record import Verdict


def unjudged(score: float, reason: str) -> Verdict:
    """A verdict that loses against every judged picture, where `score` is lower than theirs."""
    return Verdict(score, passed=None, explanation=f"The picture could not be judged: {reason}")
