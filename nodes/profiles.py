"""Secrets by name: a workflow carries the name of a profile, this machine has the rest.

Whatever stands in a widget ends up in the metadata of every PNG, in ComfyUI's history and in error
messages. So no node has a field for a key, and a text that looks like one is refused. The address
belongs to the profile too: a shared workflow could otherwise send your key to a stranger.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..reflectionflow_core.record import InputError

FILE = "profiles.json"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
KEYS = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_\w{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abp]-[\w-]{10,}"
    r"|AIza[\w-]{30,}|r8_\w{20,}|AKIA[A-Z0-9]{16}"
    r"|(?:Bearer|(?i:api[ _-]?key))[\s:='\"]+[\w.-]{16,})"
)


@dataclass(frozen=True, slots=True)
class Profile:
    """An endpoint and its key; the key is in no representation of it."""

    name: str
    base_url: str
    api_key: str = field(repr=False)

    def __str__(self) -> str:
        return self.name


def find_profile(name: str, folder: Path, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile from the environment (REFLECTIONFLOW_<NAME>_API_KEY, ..._BASE_URL), or else from
    profiles.json in `folder`: {"<name>": {"api_key": "...", "base_url": "..."}}."""
    if not NAME.fullmatch(name):
        raise InputError(
            "A profile's name has letters, digits, - and _ only. Give the name of a profile, "
            "never a key itself."
        )
    prefix = f"REFLECTIONFLOW_{name.upper().replace('-', '_')}_"
    stored = _stored(folder / FILE).get(name, {})
    key = environment.get(f"{prefix}API_KEY") or stored.get("api_key", "")
    url = environment.get(f"{prefix}BASE_URL") or stored.get("base_url", "")
    if not key or not url:
        missing = " and ".join(n for n, v in (("API_KEY", key), ("BASE_URL", url)) if not v)
        raise InputError(
            f"The profile {name} has no {missing}. Set {prefix}API_KEY and {prefix}BASE_URL before "
            f"ComfyUI starts, or write them into {FILE} (see the README)."
        )
    return Profile(name, url, key)


def _stored(file: Path) -> Mapping[str, Mapping[str, str]]:
    try:
        profiles = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        # Not the parser's message, which quotes the line that the key may be in.
        raise InputError(f"{file.name} cannot be read. Write it as JSON, see the README.") from None
    if not isinstance(profiles, dict) or not all(isinstance(p, dict) for p in profiles.values()):
        raise InputError(f"{file.name} is no table of profiles. Write it as the README shows.")
    return profiles


def looks_like_a_key(text: str) -> bool:
    return KEYS.search(text) is not None
