"""`reflectionflow compare`: whether the difference of two evaluations is real."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..evaluation.comparison import compare
from ..geneval import scores, soft_tifa

READERS = {"geneval": scores.measured, "geneval2": soft_tifa.measured}


def run_comparison(given: Mapping[str, Any]) -> int:
    """A sentence a row on stdout, notes for the reader on stderr."""
    found, notes = compare(Path(given["a"]), Path(given["b"]), given.get("budget"), READERS)
    sys.stdout.write(f"A is {given['a']}, B is {given['b']}.\n")
    sys.stdout.writelines(f"{comparison}\n" for comparison in found)
    sys.stderr.writelines(f"{note}\n" for note in notes)
    return 0
