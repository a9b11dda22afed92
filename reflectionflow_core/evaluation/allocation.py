"""Simulates one budget shared by many prompts, from recorded searches.

A shorter search is the beginning of a longer one, so the results of smaller budgets are known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from ..record import Cost, History
from ..search.portfolio import Standing, portfolio
from ..settings import Budget
from .trial import Outcome


class RecordedSearch:
    """A recorded search of one prompt, replayed round by round."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.seen = outcome, 0

    @property
    def standing(self) -> Standing:
        gain = self.outcome.gains[self.seen - 1] if self.seen else 1.0
        return Standing(gain, Cost(images=self.seen), under_way=False)

    def play(self, budget: Budget) -> Iterator[History]:
        """Replays the next round within a budget of pictures; the Histories it yields are empty."""
        assert budget.images is not None
        ends = accumulate(self.outcome.rounds)
        end = next((end for end in ends if end > self.seen), self.seen)
        while self.seen < min(end, budget.images):
            self.seen += 1
            yield History()


def portfolio_allocation(outcomes: Sequence[Outcome], total: int) -> np.ndarray:
    """Whether each prompt's best picture is correct, (n,), for a portfolio of `total` pictures."""
    searches = [RecordedSearch(outcome) for outcome in outcomes]
    deque(portfolio(searches, Budget(images=total)), maxlen=0)
    return np.array([search.outcome.success(search.seen) for search in searches])


def equal_allocation(outcomes: Sequence[Outcome], total: int) -> np.ndarray:
    """The same with an equal share per prompt; the first prompts get the remainder.

    Pictures that a search leaves unused because it stopped early are not reallocated.
    """
    each, remainder = divmod(total, len(outcomes))
    return np.array([o.success(each + (i < remainder)) for i, o in enumerate(outcomes)])
