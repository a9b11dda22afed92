"""One budget for many prompts, shared out over searches that were recorded.

A search begins as any longer one does, so what a smaller budget would have painted is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from ..record import Budget, Cost, History
from ..search.portfolio import Standing, portfolio
from .trial import Outcome


class Recorded:
    """The search of one prompt, played again from its outcome, round by round."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.seen = outcome, 0

    @property
    def standing(self) -> Standing:
        gain = self.outcome.gains[self.seen - 1] if self.seen else 1.0
        return Standing(gain, Cost(images=self.seen), under_way=False)

    def play(self, budget: Budget) -> Iterator[History]:
        """Sees the next round, as far as the budget in pictures goes; its pictures are not kept."""
        assert budget.images is not None
        ends = accumulate(self.outcome.rounds)
        end = next((end for end in ends if end > self.seen), self.seen)
        while self.seen < min(end, budget.images):
            self.seen += 1
            yield History()


def played(outcomes: Sequence[Outcome], total: int) -> np.ndarray:
    """Whether each prompt's best picture is right, (n,), when a portfolio shares `total` out."""
    searches = [Recorded(outcome) for outcome in outcomes]
    deque(portfolio(searches, Budget(images=total)), maxlen=0)
    return np.array([search.outcome.success(search.seen) for search in searches])


def equal_shares(outcomes: Sequence[Outcome], total: int) -> np.ndarray:
    """The same when every prompt gets as many pictures; the first ones get what is over, and what
    a search that found its picture leaves is lost."""
    each, over = divmod(total, len(outcomes))
    return np.array([o.success(each + (i < over)) for i, o in enumerate(outcomes)])
