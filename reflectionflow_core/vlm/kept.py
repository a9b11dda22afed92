"""Small JSON tables next to profiles.json, written by this program: consent and findings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class KeptTable:
    """A named table in a file. An unreadable table counts as empty."""

    path: Path

    def read(self) -> dict[str, Any]:
        try:
            table = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return table if isinstance(table, dict) else {}

    def put(self, name: str, value: Mapping[str, Any]) -> str:
        """Saves a value; returns a notice if the file cannot be written, otherwise ""."""
        data = json.dumps(self.read() | {name: dict(value)}, indent=2)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(data, encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return f"{self.path.name} cannot be written ({reason}), so nothing is remembered."
        return ""
