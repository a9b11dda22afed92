"""How long a search took, by phase: timing.json, which its history has no part of."""

from __future__ import annotations

import operator
from pathlib import Path
from types import MappingProxyType

from ..record import COUNTED, Cost
from ..texts import parse_json

TIMING = "timing.json"
MOST_SECONDS = 1e10  # 300 years


def read_timing(path: Path) -> tuple[Cost, str, tuple[str, ...]]:
    """The seconds, which limit ended the search, and a notice about a damaged file."""
    try:
        record = parse_json(path.read_bytes())
        seconds = {phase: float(spent) for phase, spent in record["seconds"].items()}
        counts = {name: operator.index(record.get(name, 0)) for name in COUNTED}
        cost = Cost(**counts, seconds=MappingProxyType(seconds), slowest=float(record["slowest"]))
        if not all(0 <= spent < MOST_SECONDS for spent in (*seconds.values(), cost.slowest)):
            raise ValueError("its times are no times")
        return cost, str(record.get("ended", "")), ()
    except FileNotFoundError:
        return Cost(), "", ()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Cost(), "", (f"{path.name} is damaged; seconds count from zero again.",)
