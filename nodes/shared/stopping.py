"""Stop and keep best: ends a search after the current picture and outputs what it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Stopping:
    """Which search is running, and whether it was asked to end.

    `times` is part of what ComfyUI caches by, so that Run continues searches that ended early.
    """

    def __init__(self) -> None:
        self.searching = 0
        self.requested = False
        self.times = 0

    def request(self) -> bool:
        """Asks the running search to end; False if there is none."""
        if not self.searching or self.requested:
            return self.requested
        self.requested = True
        self.times += 1
        return True

    @contextmanager
    def during(self) -> Iterator[None]:
        """A context in which a round is painted."""
        self.searching += 1
        try:
            yield
        finally:
            self.searching -= 1
            self.requested = self.requested and self.searching > 0


STOPPING = Stopping()
