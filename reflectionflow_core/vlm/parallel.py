"""Many slow questions at once, their answers in order; knows neither models nor HTTP.

They run in an event loop on a thread of its own: the caller may be inside an event loop already (as
ComfyUI's nodes are), and can notice within TICK seconds that it was cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from ..protocols import Progress

Client = TypeVar("Client")
Item = TypeVar("Item")
Answer = TypeVar("Answer")
TICK = 0.05  # seconds between two checks whether the user cancelled
GRACE = 1.0  # seconds that a cancelled thread has to close its connections


@dataclass(frozen=True, slots=True)
class _Crash:
    """An error on the other thread; the caller raises it."""

    error: BaseException


def ask_in_parallel(
    connect: Callable[[], AbstractAsyncContextManager[Client]],
    ask: Callable[[Client, Item], Awaitable[Answer]],
    items: Sequence[Item],
    concurrency: int,
    progress: Progress,
    phase: str,
) -> list[Answer]:
    """ask(client, item) for every item, `concurrency` of them at a time, over one client.

    Raises what `ask` or `progress` raises; questions that are still open are then cancelled.
    """
    progress.check()
    if not items:
        return []
    events: SimpleQueue[Any] = SimpleQueue()

    async def work() -> None:
        events.put((asyncio.get_running_loop(), asyncio.current_task()))
        indices = iter(range(len(items)))

        async def ask_in_turn(client: Client) -> None:
            for index in indices:  # shared: each index is taken once
                events.put((index, await ask(client, items[index])))

        async with connect() as client:
            workers = min(concurrency, len(items))
            await asyncio.gather(*(ask_in_turn(client) for _ in range(workers)))

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # also a cancellation, after which the queue is not read
            events.put((-1, _Crash(error)))

    # With the allowance of whoever asks.
    thread = Thread(target=copy_context().run, args=(run,), name="reflectionflow-vlm", daemon=True)
    thread.start()
    loop, task = events.get()
    if isinstance(task, _Crash):
        raise task.error  # the event loop could not start
    try:
        return _collect(events, len(items), progress, phase)
    except BaseException:
        with suppress(RuntimeError):  # the loop has ended in the meantime
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join(GRACE)


def _collect(events: SimpleQueue[Any], count: int, progress: Progress, phase: str) -> list[Any]:
    answers: dict[int, Any] = {}
    while len(answers) < count:
        progress.check()
        try:
            index, answer = events.get(timeout=TICK)
        except Empty:
            continue
        if isinstance(answer, _Crash):
            raise answer.error
        answers[index] = answer
        progress.report(phase, len(answers), count)
    return [answers[index] for index in range(count)]
