"""A bounded cache of results by their inputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Cache(Generic[Result]):
    """Keeps the `size` most recently used results."""

    def __init__(self, size: int = 64) -> None:
        self.size = size
        self._results: OrderedDict[Hashable, Result] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: Hashable, make: Callable[[], Result]) -> Result:
        if key not in self._results:
            self._results[key] = make()
        self._results.move_to_end(key)
        while len(self) > self.size:
            self._results.popitem(last=False)
        return self._results[key]

    def clear(self) -> None:
        self._results.clear()
