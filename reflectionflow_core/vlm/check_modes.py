"""How strict the check of a judge before a search is."""

from __future__ import annotations

import os
from collections.abc import Mapping

STRICT, WARN, OFF = MODES = ("strict", "warn", "off")
VARIABLE = "REFLECTIONFLOW_JUDGE_CHECK"  # one of MODES


def mode_of(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """What the user chose: here, in the environment, or the strict default."""
    return given or environment.get(VARIABLE, "").strip() or STRICT
