"""A bounded memory of what was computed from equal inputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Keeps the `size` results that were used last."""

    def __init__(self, size: int = 64) -> None:
        self.size = size
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._results:
            self._results[key] = make()
        self._results.move_to_end(key)
        while len(self) > self.size:
            self._results.popitem(last=False)
        return self._results[key]

    def clear(self) -> None:
        self._results.clear()
