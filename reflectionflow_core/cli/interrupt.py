"""How a command ends early: Ctrl-C as a KeyboardInterrupt, whatever a library does with it, and a
pause that was asked for.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn


class PausedError(Exception):
    """An evaluation was stopped after the time that it was given, with something left to do."""


@contextmanager
def sigint_raises() -> Iterator[None]:
    """Within it Ctrl-C raises KeyboardInterrupt, even if a library that loads weights turns it into
    an error of its own.
    """
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
