"""Handles stdout that ends early: a closed pipe, a full device."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..record import InputError


@contextmanager
def output_explained() -> Iterator[None]:
    """Ends quietly if the reader of stdout is gone, as after `| head`; a full device is a clear
    error.

    Other errors of the system are raised.
    """
    try:
        try:
            yield
        finally:  # also after --help, which ends the program
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        raise SystemExit(0) from None
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _discard_output()
        raise InputError(
            "The output cannot be written: no space left on the device. Free some space."
        ) from error


def _discard_output() -> None:
    """What is still buffered would fail again when Python ends."""
    with suppress(OSError, ValueError):  # ValueError: a stream without a descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
