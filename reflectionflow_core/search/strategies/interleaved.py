"""Interleaved reasoning (Huang et al. 2025): think, paint, reflect, repaint faults and crude parts.

The thought is written before the search, as its `draft_prompt`; the writer does the reflection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...record import Candidate
from ...settings import SearchSettings
from .reflection import Rounds, best_candidates, correction, drafts


def interleaved(settings: SearchSettings) -> Rounds:
    """Repaints each draft with the same thought; a repaint that scores lower is dropped."""
    past = yield drafts(settings)
    kept = best_candidates(settings, past.eligible or past)
    for _ in range(settings.depth):
        past = yield [
            replace(
                correction(settings, past, position, picture),
                prompt=settings.draft_prompt or "",
                action="repaint",
            )
            for position, picture in enumerate(kept)
        ]
        kept = accepted(kept, past.rounds[-1])


def accepted(before: Sequence[Candidate], repainted: Sequence[Candidate]) -> list[Candidate]:
    """Each repaint that breaks nothing and scores no lower, else the picture it was made from."""
    pairs = zip(before, repainted, strict=True)
    return [new if new.rank >= old.rank and not new.broken else old for old, new in pairs]
