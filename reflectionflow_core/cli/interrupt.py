"""How a command ends early: by Ctrl-C, as a KeyboardInterrupt, by --hours, or out of memory."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn

from ..record import InputError


class PausedError(Exception):
    """An evaluation reached its time limit with something left to do."""


@contextmanager
def sigint_raises() -> Iterator[None]:
    """A context in which Ctrl-C raises KeyboardInterrupt even if a library would convert it."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or current_thread() is not main_thread():
        yield  # ignored, as in the background, or handled by a host program
        return
    pressed = False

    def press(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, press)
    try:
        yield
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def memory_told() -> Iterator[None]:
    """A context in which memory that runs out is an InputError, which says what helps."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        from ..flux.placement import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        words = (str(error).strip().splitlines() or ["none is left"])[0].rstrip(".")
        raise InputError(
            f"Memory ran out ({words}). Choose --offload streamed or phased, a smaller picture or "
            "model, or close other programs that use the device."
        ) from error
