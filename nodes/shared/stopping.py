"""Stop and keep best: a search ends after the picture under way, and hands out what it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Stopping:
    """Who searches, and whether it was asked to end.

    `times` changes what ComfyUI caches: once searches ended early, Run goes on with them.
    """

    def __init__(self) -> None:
        self.searching = 0
        self.requested = False
        self.times = 0

    def request(self) -> bool:
        """Asks the search under way to end; False where there is none."""
        if not self.searching or self.requested:
            return self.requested
        self.requested = True
        self.times += 1
        return True

    @contextmanager
    def during(self) -> Iterator[None]:
        """While a round is painted."""
        self.searching += 1
        try:
            yield
        finally:
            self.searching -= 1
            self.requested = self.requested and self.searching > 0


STOPPING = Stopping()
