"""Many slow questions at once, answers in order; independent of models and HTTP.

They run in an event loop on their own thread: the caller may itself be inside an event loop (as
ComfyUI's nodes are), and can notice within TICK seconds that it was cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from ..protocols import Progress

Client = TypeVar("Client")
Item = TypeVar("Item")
Answer = TypeVar("Answer")
TICK = 0.05  # seconds between checks for cancellation
GRACE = 1.0  # seconds for a cancelled thread to close its connections
SAID = -2  # in place of the index of an answer
_events: ContextVar[SimpleQueue[Any]] = ContextVar("events")


def say_from_within(line: str) -> None:
    """Shows a line to the user, once for all questions; only in an `ask` of `ask_in_parallel`."""
    _events.get().put((SAID, line))


@dataclass(frozen=True, slots=True)
class _Crash:
    """An error on the other thread, to be raised by the caller."""

    error: BaseException


def ask_in_parallel(
    connect: Callable[[], AbstractAsyncContextManager[Client]],
    ask: Callable[[Client, Item], Awaitable[Answer]],
    items: Sequence[Item],
    concurrency: int,
    progress: Progress,
    phase: str,
) -> list[Answer]:
    """`ask(client, item)` for every item, `concurrency` at a time, with one client.

    Raises what `ask` or `progress` raises; open questions are then cancelled.
    """
    progress.check()
    if not items:
        return []
    events: SimpleQueue[Any] = SimpleQueue()

    async def work() -> None:
        _events.set(events)
        events.put((asyncio.get_running_loop(), asyncio.current_task()))
        indices = iter(range(len(items)))

        async def ask_in_turn(client: Client) -> None:
            for index in indices:  # shared, so that each index is taken once
                events.put((index, await ask(client, items[index])))

        async with connect() as client:
            workers = min(concurrency, len(items))
            await asyncio.gather(*(ask_in_turn(client) for _ in range(workers)))

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # includes cancellation, after which nobody reads the queue
            events.put((-1, _Crash(error)))

    # Keeps the caller's allowance.
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
    lines: set[str] = set()
    while len(answers) < count:
        progress.check()
        try:
            index, answer = events.get(timeout=TICK)
        except Empty:
            continue
        if isinstance(answer, _Crash):
            raise answer.error
        if index == SAID:
            if answer not in lines:
                lines.add(answer)
                progress.say(answer)
            continue
        answers[index] = answer
        progress.report(phase, len(answers), count)
    return [answers[index] for index in range(count)]
