"""Shared by verifiers, writers, evolvers, planners and inspectors that ask a model."""

from __future__ import annotations

from .interface import Vlm


class VlmActor:
    """Asks one vision-language model and counts requests.

    `calls` is the expected number of requests per item; `spent` the number of all requests so far,
    including those of other actors with the same model.
    """

    calls = 1

    def __init__(self, vlm: Vlm) -> None:
        self.vlm = vlm

    @property
    def spent(self) -> int:
        return self.vlm.usage.calls
