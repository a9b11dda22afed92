"""`reflectionflow compare`: whether the difference between two evaluations is significant."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..evaluation.comparison import compare
from ..geneval import scores, soft_tifa
from ..record import InputError
from .outcome import CommandOutcome

READERS = {"geneval": scores.measured, "geneval2": soft_tifa.measured}


def run_comparison(given: Mapping[str, Any]) -> CommandOutcome:
    """One sentence per row, and notes on stderr."""
    first, second = Path(given["a"]), Path(given["b"])
    if first.resolve() == second.resolve():
        raise InputError("A and B are the same file. Give two evaluations.")
    found, notes = compare(first, second, given.get("budget"), READERS)
    sys.stderr.writelines(f"{note}\n" for note in notes)
    lines = [str(comparison) for comparison in found]
    text = "\n".join([f"A is {given['a']}, B is {given['b']}.", *lines]) + "\n"
    return CommandOutcome(text=text, data={"a": given["a"], "b": given["b"], "rows": lines})
