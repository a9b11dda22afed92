"""Search over paths (Ma et al. 2025): noise is added to good pictures, and they are repainted."""

from __future__ import annotations

from ...record import Request, Restart
from ...settings import SearchSettings
from ..seeds import fresh_seed
from .reflection import Rounds, best_candidates, drafts

FIRST_LEVEL, FALL, LAST_LEVEL = 0.9, 0.1, 0.3  # of noise; 1 is pure noise


def paths(settings: SearchSettings) -> Rounds:
    """Each round adds fresh noise to the best `width` pictures so far and repaints them.

    The noise level falls round by round, from different compositions to small changes.
    """
    past = yield drafts(settings)
    for index in range(1, settings.depth + 1):
        level = max(LAST_LEVEL, round(FIRST_LEVEL - FALL * (index - 1), 2))
        past = yield [
            Request(
                Restart(fresh_seed(settings.seed, index, i), level), parent=parent, action="repaint"
            )
            for i, parent in enumerate(best_candidates(settings, past.eligible or past))
        ]
