"""Names of models and data sets for what is published: no paths of this machine, no keys."""

from __future__ import annotations

import re
from pathlib import PureWindowsPath
from typing import Any

# An absolute path, of this or another system, after "KIND:" or on its own.
_PATH = re.compile(r"^((?:[a-z][a-z-]+:)?)(?:[\\/~]|[A-Za-z]:[\\/])", re.IGNORECASE)
# Both may contain keys: a command in its options, an address in its user or its query.
_COMMAND = re.compile(r"\bpipe:.*", re.DOTALL | re.IGNORECASE)
_ADDRESS = re.compile(r"(\w+://)(?:[^/?#]*@)?([^?#]*).*", re.DOTALL)


def named(place: str) -> str:
    """The last part of an absolute path; an address without user and query; no command's text."""
    if _COMMAND.search(place):
        return _COMMAND.sub("pipe:...", place)
    return "::".join(map(_one_named, place.split("::")))


def _one_named(place: str) -> str:
    if _ADDRESS.search(place):
        return _ADDRESS.sub(r"\1\2", place)
    if found := _PATH.match(place):
        # Windows paths are read with both separators.
        return found[1] + PureWindowsPath(place[len(found[1]) :]).name
    return place


def without_places(value: Any) -> Any:
    """The same with all its texts `named`."""
    if isinstance(value, dict):
        return {name: without_places(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_places(each) for each in value]
    return named(value) if isinstance(value, str) else value
