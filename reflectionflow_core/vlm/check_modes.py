"""Strictness of the judge check before a search."""

from __future__ import annotations

import os
from collections.abc import Mapping

STRICT, WARN, OFF = MODES = ("strict", "warn", "off")
VARIABLE = "REFLECTIONFLOW_JUDGE_CHECK"  # one of MODES


def mode_of(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The mode given by the user, by the environment, or the strict default."""
    return given or environment.get(VARIABLE, "").strip() or STRICT
