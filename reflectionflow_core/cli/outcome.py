"""How a command ends: what it prints, as text or as JSON, and its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ..texts import printable
from ..vlm.redaction import without_keys

COLUMN = 12  # characters before a fact of a dry run
SCHEMA = 1  # of the JSON; raised where a name in it goes or changes its meaning


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """The outcome of a command.

    `text` is printed on stdout, or `data` with --json; `error` on stderr, without keys. --open
    shows `page`.
    """

    status: int = 0
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    page: Path | None = None
    error: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", without_keys(self.error))

    def shown(self, command: str, as_json: bool) -> str:
        """What goes to stdout."""
        if not as_json:
            return printable(self.text)
        record = {
            "schema": SCHEMA,
            "command": command,
            "status": self.status,
            "error": self.error or None,
            "result": self.data or None,
        }
        return json.dumps(record, indent=2) + "\n"


def would_do(facts: Mapping[str, str]) -> CommandOutcome:
    """The outcome of a dry run: what would be done, one fact per line."""
    lines = [f"  {name:<{COLUMN}}{fact}" for name, fact in facts.items()]
    text = "\n".join(["Nothing was loaded, painted or written. This would be done:", *lines])
    return CommandOutcome(text=f"{text}\n", data={"dry_run": True, **facts})


@contextmanager
def kept_apart(as_json: bool, quiet: bool) -> Iterator[None]:
    """A context without other output on stdout for --json, and without notes for --quiet."""
    notes = StringIO() if quiet else sys.stderr
    with redirect_stderr(notes), redirect_stdout(notes if as_json else sys.stdout):
        yield


def open_page(page: Path | None) -> str:
    """Opens a page in the browser; returns an error sentence if that is not possible, else ""."""
    if page is None or not page.is_file():
        return "There is no page to open."
    return open_address(page.resolve().as_uri())


def open_address(address: str) -> str:
    """The same for an address."""
    import webbrowser

    if webbrowser.open(address):
        return ""
    return f"No browser could be opened. Open {address} by hand."
