"""Noise-level scaling (§3.4): every round paints new pictures of the user's own prompt."""

from __future__ import annotations

from ...record import Request
from ...settings import SearchSettings
from .reflection import Rounds, drafts, new_noise


def noise(settings: SearchSettings) -> Rounds:
    """New pictures without parents; the paper's best-of-N.

    With zero-order search their noise lies around the best noise so far (Ma et al. 2025).
    """
    past = yield drafts(settings)
    for _ in range(settings.depth):
        past = yield [
            Request(new_noise(settings, past, i, past.best), action="noise")
            for i in range(settings.width)
        ]
