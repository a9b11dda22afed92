"""An endpoint to a scripted server, short questions, and Progress that watches or cancels."""

from __future__ import annotations

import time

from PIL import Image
from vlm_server import MODEL, Script, VlmServer

from reflectionflow_core.protocols import Silent
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits

KEY = "plantedKey-0123456789abcdef"
FAST = RequestLimits(seconds=5, tries=3, pause=0.001, longest_pause=0.05)
SCHEMA = {"type": "object", "properties": {"seen": {"type": "string"}}}
WHAT = Question("What is there?")


def endpoint_of(server: VlmServer, limits: RequestLimits = FAST, key: str = KEY) -> Endpoint:
    return Endpoint(Profile("mine", server.url, key, MODEL), limits)


def one(script: Script, question: Question = WHAT, limits: RequestLimits = FAST) -> str:
    """The only answer, or the reason of its failure."""
    with VlmServer(script) as server:
        (answer,) = endpoint_of(server, limits).chat([question])
    assert not server.errors
    return answer.reason if isinstance(answer, Failure) else answer


def numbered(count: int) -> list[Question]:
    return [Question(f"number {i}") for i in range(count)]


class Watcher(Silent):
    """Progress that writes down what it hears, and cancels `cancel_after` seconds."""

    def __init__(self, cancel_after: float = float("inf")) -> None:
        self.reports: list[tuple[str, int, int]] = []
        self.checks: list[float] = []
        self.began = time.monotonic()
        self._cancel_after = cancel_after

    def report(self, phase: str, done: int, total: int, preview: Image.Image | None = None) -> None:
        self.reports.append((phase, done, total))

    def check(self) -> None:
        self.checks.append(time.monotonic() - self.began)
        if self.checks[-1] > self._cancel_after:
            raise InterruptedError("cancelled")
