"""Secrets by name: workflow and command line carry a profile's name, this machine has the rest.

What is typed ends up in histories, in pictures' metadata and in error messages, so no key is ever
typed. The address belongs to the profile too: a shared workflow could otherwise send your key to a
stranger. Nothing here knows ComfyUI, nor asks a server.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ..record import InputError

FILE = "profiles.json"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Profile:
    """An endpoint, its key and the model it is asked for; only the name is ever shown.

    An empty `api_key` is that of a server which needs none. An empty `model` is allowed here: not
    everyone who has a profile asks its model.
    """

    name: str
    base_url: str = field(repr=False)
    api_key: str = field(repr=False)
    model: str = ""

    def __post_init__(self) -> None:
        # What HTTP cannot send would fail deep inside the client, in messages that quote it.
        if not re.fullmatch(r"[!-~]*", self.api_key):
            raise InputError(
                f"The profile {self.name} has a key that cannot be sent. Copy it again: it is one "
                "word of ASCII characters."
            )
        if _host(self.base_url) is None:
            raise InputError(
                f"The profile {self.name} has an address that is none. Write it like "
                "https://example.org/v1."
            )

    def __str__(self) -> str:
        return self.name


def find_profile(name: str, folder: Path, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile from the environment (REFLECTIONFLOW_<NAME>_BASE_URL, ..._API_KEY, ..._MODEL),
    or else from profiles.json in `folder`:
    {"<name>": {"base_url": "...", "api_key": "...", "model": "..."}}; part by part.

    The key may be absent where the address is this machine's own, and empty ("api_key": "") where
    the file says that none is needed.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            "A profile's name has letters, digits, - and _ only. Give the name of a profile, "
            "never a key itself."
        )
    prefix = f"REFLECTIONFLOW_{name.upper().replace('-', '_')}_"
    stored = _stored(folder / FILE).get(name, {})
    # An empty variable is an unset one, as shells leave them behind.
    url, key, model = (
        environment.get(f"{prefix}{part.upper()}", "").strip() or stored.get(part, "").strip()
        for part in ("base_url", "api_key", "model")
    )
    needs_key = stored.get("api_key") != "" and not is_loopback(url)
    absent = (("API_KEY", needs_key and not key), ("BASE_URL", not url))
    if missing := " and ".join(part for part, is_absent in absent if is_absent):
        raise InputError(
            f"The profile {name} has no {missing}. Set {prefix}API_KEY and {prefix}BASE_URL in the "
            f"environment before you start, or write them into {FILE} (see the README)."
        )
    return Profile(name, url, key, model)


def command_line_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the command line's profiles.json lies: REFLECTIONFLOW_HOME, or else the user's
    configuration (%APPDATA% on Windows, $XDG_CONFIG_HOME or ~/.config elsewhere)/reflectionflow."""
    if home := environment.get("REFLECTIONFLOW_HOME"):
        return Path(home).expanduser()
    standard = "APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME"
    return Path(environment.get(standard) or Path.home() / ".config") / "reflectionflow"


def is_loopback(url: str) -> bool:
    """Whether the address is one of this machine's own, which nobody else listens to."""
    host = _host(url)
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False  # a name; what it resolves to is not ours to guess


def _host(url: str) -> str | None:
    """The host of an http or https address; None if it is no such address."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]+", url):
        return None
    host = parts.hostname or ""
    # As HTTP clients want it: no part of a name is empty or longer than DNS allows.
    named = ":" in host or all(0 < len(part) < 64 for part in host.removesuffix(".").split("."))
    return host if host and named else None


def _stored(file: Path) -> Mapping[str, Mapping[str, str]]:
    try:
        profiles = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        # Not the parser's message, which quotes the line that the key may be in.
        raise InputError(f"{file.name} cannot be read. Write it as JSON, see the README.") from None
    if not isinstance(profiles, dict) or not all(map(_is_table_of_texts, profiles.values())):
        raise InputError(f"{file.name} is no table of profiles. Write it as the README shows.")
    return profiles


def _is_table_of_texts(profile: object) -> bool:
    return isinstance(profile, dict) and all(isinstance(v, str) for v in profile.values())
