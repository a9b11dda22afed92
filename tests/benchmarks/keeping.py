"""How a benchmark keeps its result: on the screen, and as JSON with the machine's kind."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def keep(name: str, result: Mapping[str, object]) -> None:
    """Writes `result` to results/`name`.json and to stdout."""
    where = {"python": platform.python_version(), "machine": platform.machine()}
    text = json.dumps({**result, **where}, indent=2) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text)
    sys.stdout.write(text)
