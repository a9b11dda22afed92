"""An evaluation on disk as it goes: FILE.part has what was asked, then one line a piece of work.

A killed evaluation goes on after the last line. When it is over FILE has everything, and FILE.part
is gone. What the lines mean is the business of who writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..archive import files
from ..record import InputError

Line = TypeVar("Line")
FORMAT = 2  # 1 had no costs


@dataclass(frozen=True)
class Journal:
    """Of the evaluation that writes `file` in the end. `asked` is what its lines answer."""

    file: Path
    asked: Mapping[str, Any]

    @property
    def part(self) -> Path:
        return part_of(self.file)

    @property
    def header(self) -> dict[str, Any]:
        """What was asked, as JSON would give it back."""
        return json.loads(json.dumps({"format": FORMAT, **self.asked}))

    def lines(self, read: Callable[[dict[str, Any]], Line]) -> list[Line]:
        """Every whole line, as `read` understands it; begins FILE.part if there is none."""
        if not self.part.exists():
            self._begin()
        whole, _, torn = self.part.read_bytes().rpartition(b"\n")
        if torn:  # what a killed process was writing
            files.truncate(self.part, len(whole) + 1)
        try:
            header, *lines = [json.loads(line) for line in whole.split(b"\n")]
            version, done = header["format"], [read(line) for line in lines]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self.part} is damaged ({error}). Delete it to begin anew."
            ) from error
        if version != FORMAT:
            raise InputError(
                f"{self.part} was begun by another version of ReflectionFlow. "
                "Finish it with that one, or delete it."
            )
        if header != self.header and not done:  # such as one that was begun with a slip
            self._begin()
        elif header != self.header:
            raise InputError(
                f"{self.part} holds the beginning of another evaluation. "
                "Go on with the options that it was begun with, or delete it."
            )
        return done

    def _begin(self) -> None:
        files.make_folder(self.part.parent)
        files.replace_file(self.part, json.dumps(self.header).encode() + b"\n")

    def append(self, line: Mapping[str, Any]) -> None:
        files.append(self.part, json.dumps(line).encode() + b"\n")

    def finish(self, record: Mapping[str, Any]) -> None:
        """Writes what was asked and `record` into FILE."""
        files.replace_file(self.file, json.dumps({**self.header, **record}).encode() + b"\n")
        self.part.unlink()


def part_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")
