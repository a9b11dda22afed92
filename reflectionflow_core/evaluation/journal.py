"""A running evaluation on disk: FILE.part has a header, then one line per result.

A killed evaluation continues after the last line. At the end FILE has everything, and FILE.part is
removed. This module does not interpret the lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..archive import files
from ..record import InputError
from ..texts import parse_json
from .pool import WorkerPool, run_all
from .work import Build, Item, trace_record

Line = TypeVar("Line")
FORMAT = 2  # format 1 has no costs


@dataclass(frozen=True)
class Journal:
    """The journal of an evaluation that writes `file` at its end; `settings` are the header."""

    file: Path
    settings: Mapping[str, Any]

    @property
    def part(self) -> Path:
        return part_of(self.file)

    @property
    def page(self) -> Path:
        return self.file.with_suffix(".html")

    @property
    def header(self) -> dict[str, Any]:
        """The header as read back from JSON."""
        return json.loads(json.dumps({"format": FORMAT, **self.settings}))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from the same evaluation; InputError if one is running."""
        files.make_folder(self.part.parent)
        with files.locked(self.part):
            yield

    def lines(self, read: Callable[[dict[str, Any]], Line]) -> list[Line]:
        """All complete lines, converted by `read`; creates FILE.part if it does not exist."""
        if not self.part.exists():
            self._begin()
        whole, _, torn = self.part.read_bytes().rpartition(b"\n")
        if torn:  # an incomplete line of a killed process
            files.truncate(self.part, len(whole) + 1)
        try:
            header, *lines = [parse_json(line) for line in whole.split(b"\n")]
            version, done = header["format"], [read(line) for line in lines]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self.part} is damaged ({error}). Delete it to start again."
            ) from error
        if version != FORMAT:
            raise InputError(
                f"{self.part} was written by another version of ReflectionFlow. "
                "Finish it with that version, or delete it."
            )
        if header == self.header:
            return done
        if done and not self._only_adds_arms(header):
            raise InputError(
                f"{self.part} belongs to another evaluation. "
                "Use the options that it was started with, or delete it."
            )
        # Without results it may have been started by mistake.
        self._begin(whole.split(b"\n")[1:] if done else ())
        return done

    def _only_adds_arms(self, before: Mapping[str, Any]) -> bool:
        """Whether this evaluation has all arms of an earlier header, unchanged, and more.

        Arms do not influence each other, so that their results stay valid.
        """
        arms = self.header.get("arms", [])
        kept = all(arm in arms for arm in before.get("arms", []))
        return kept and {**before, "arms": arms} == self.header

    def _begin(self, lines: Iterable[bytes] = ()) -> None:
        files.make_folder(self.part.parent)
        header = json.dumps(self.header).encode()
        files.replace_file(self.part, b"\n".join([header, *lines, b""]))

    def run(
        self,
        items: Iterable[Item],
        known: int,
        build: Build[Item, Any],
        pool: WorkerPool,
        as_line: Callable[[Any], dict[str, Any]] = asdict,
    ) -> Iterator[int]:
        """Appends the result of each item with its trace; yields the number of results after each.

        `known` are results of an earlier run.
        """
        yield known
        for count, result in enumerate(run_all(items, build, pool), start=known + 1):
            self.append({**as_line(result.value), "trace": trace_record(result.trace)})
            yield count

    def append(self, line: Mapping[str, Any]) -> None:
        files.append(self.part, json.dumps(line).encode() + b"\n")

    def finish(self, record: Mapping[str, Any]) -> None:
        """Writes the header and `record` to FILE and removes FILE.part."""
        files.replace_file(self.file, json.dumps({**self.header, **record}).encode() + b"\n")
        self.part.unlink()


def recorded_seed(file: Path) -> int | None:
    """The seed in an unfinished or finished `file`; None if there is none."""
    for known in (part_of(file), file):
        try:
            seed = parse_json(known.read_bytes().partition(b"\n")[0])["seed"]
        except (OSError, ValueError, TypeError, KeyError):
            continue  # missing; damaged files are reported when they are read completely
        if isinstance(seed, int):
            return seed
    return None


def part_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")
