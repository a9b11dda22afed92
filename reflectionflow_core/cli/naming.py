"""What the command line calls a field of the settings, a value of a choice, a list of names, a
command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import Field, fields
from typing import Any

from ..settings import Budget

FLAGS = {"plan": "--offload", "plugins": "--plugin"}


def name_of(setting: Field[Any]) -> str:
    """What the command line calls a field of SearchSettings or Budget, as a Python name."""
    prefix = "max_" if setting in fields(Budget) else ""
    return setting.metadata.get("option", prefix + setting.name)


def flag_of(name: str) -> str:
    """The option of a name that was given."""
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def command_text(words: Sequence[str]) -> str:
    """A command as it is typed in the shell of this system."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def in_words(names: Collection[str]) -> str:
    """The names as "A, B or C"."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
