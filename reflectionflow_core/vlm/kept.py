"""Small JSON tables next to profiles.json, written by this program: consent and findings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..texts import parse_json


@dataclass(frozen=True, slots=True)
class KeptTable:
    """A named table in a file. A table that is damaged or cannot be read counts as empty."""

    path: Path

    def read(self) -> dict[str, Any]:
        try:
            return self._table()
        except (OSError, ValueError):
            return {}

    def put(self, name: str, value: Mapping[str, Any]) -> str:
        """Saves a value beside the others. Returns a notice, otherwise "": the file cannot be read
        or written, or it was damaged and is now FILE.damaged."""
        notice, aside = "", self.path.with_name(f"{self.path.name}.damaged")
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            try:
                table = self._table()
            except ValueError as error:
                self.path.replace(aside)
                table = {}
                notice = (
                    f"{self.path.name} was damaged ({error}) and is now {aside.name}. A new one "
                    "has only the latest entry."
                )
            self.path.parent.mkdir(parents=True, exist_ok=True)
            data = json.dumps(table | {name: dict(value)}, indent=2)
            temporary.write_text(data, encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return f"{self.path.name} cannot be written ({reason}), so nothing is remembered."
        return notice

    def _table(self) -> dict[str, Any]:
        """The table; empty without a file. Raises OSError, and ValueError if it is damaged."""
        try:
            table = parse_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        if not isinstance(table, dict):
            raise ValueError("it is not a JSON object")
        return table
