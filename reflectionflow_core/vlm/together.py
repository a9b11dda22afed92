"""Many slow questions at once, their answers in order; knows neither models nor HTTP.

They wait in an event loop on a thread of its own: the caller may be inside an event loop already
(ComfyUI's nodes are), and stays free to notice within a tick that it was cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from ..protocols import Progress

Line = TypeVar("Line")
Item = TypeVar("Item")
Answer = TypeVar("Answer")
TICK = 0.05  # seconds between two looks at whether the user cancelled
GRACE = 1.0  # seconds that a cancelled thread gets to close its connections


@dataclass(frozen=True, slots=True)
class _Crash:
    """An error of ours on the other thread; the caller raises it."""

    error: BaseException


def ask_together(
    open_line: Callable[[], AbstractAsyncContextManager[Line]],
    ask: Callable[[Line, Item], Awaitable[Answer]],
    items: Sequence[Item],
    at_once: int,
    progress: Progress,
    phase: str,
) -> list[Answer]:
    """ask(line, item) for every item, `at_once` of them at a time, over one line.

    What `ask` or `progress` raises goes through; what is still being asked is then abandoned.
    """
    progress.check()
    if not items:
        return []
    told: SimpleQueue[Any] = SimpleQueue()

    async def work() -> None:
        told.put((asyncio.get_running_loop(), asyncio.current_task()))
        places = iter(range(len(items)))

        async def ask_in_turn(line: Line) -> None:
            for place in places:  # shared: each place is taken once
                told.put((place, await ask(line, items[place])))

        async with open_line() as line:
            await asyncio.gather(*(ask_in_turn(line) for _ in range(min(at_once, len(items)))))

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # also our own cancelling, when nobody listens any more
            told.put((-1, _Crash(error)))

    thread = Thread(target=run, name="reflectionflow-vlm", daemon=True)
    thread.start()
    loop, task = told.get()
    if isinstance(task, _Crash):
        raise task.error  # no event loop could be had
    try:
        return _collect(told, len(items), progress, phase)
    except BaseException:
        with suppress(RuntimeError):  # the loop has ended by itself in the meantime
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join(GRACE)


def _collect(told: SimpleQueue[Any], count: int, progress: Progress, phase: str) -> list[Any]:
    answers: dict[int, Any] = {}
    while len(answers) < count:
        progress.check()
        try:
            place, answer = told.get(timeout=TICK)
        except Empty:
            continue
        if isinstance(answer, _Crash):
            raise answer.error
        answers[place] = answer
        progress.report(phase, len(answers), count)
    return [answers[place] for place in range(count)]
