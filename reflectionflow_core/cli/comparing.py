"""`reflectionflow compare`: whether the difference of two evaluations is real."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run_comparison(given: Mapping[str, Any]) -> int:
    """A sentence a row on stdout, what a reader should know beside on stderr."""
    from ..evaluation.comparison import compare

    found, notes = compare(Path(given["a"]), Path(given["b"]), given.get("budget"))
    sys.stdout.write(f"A is {given['a']}, B is {given['b']}.\n")
    sys.stdout.writelines(f"{comparison}\n" for comparison in found)
    sys.stderr.writelines(f"{note}\n" for note in notes)
    return 0
