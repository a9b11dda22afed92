"""Search over paths (Ma et al. 2025): good pictures are taken back to noise and painted on."""

from __future__ import annotations

from ...record import Request, Restart
from ...settings import SearchSettings
from ..seeds import fresh_seed
from .reflection import Rounds, best_candidates, drafts

FIRST_LEVEL, FALL, LAST_LEVEL = 0.9, 0.1, 0.3  # of noise, 1 being nothing else


def paths(settings: SearchSettings) -> Rounds:
    """The best `width` pictures so far go back to a level of noise, with fresh noise, each round.

    The level falls round by round: first other pictures of the same kind, then finer changes.
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
