"""Secrets by name: workflows and command lines hold a profile's name, this machine the rest.

What is typed ends up in histories, in pictures' metadata and in error messages, so a key is never
typed. The address is part of the profile, too: a shared workflow could otherwise send your key to
someone else. Knows neither ComfyUI nor servers.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..record import InputError

FILE = "profiles.json"
SECONDS, CONCURRENCY = 120.0, 4
SAMPLES = 8  # answers that estimate probabilities if the server gives none
NUMBERS = ("seconds", "concurrency")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Profile:
    """An endpoint, its key and its model; only the name is ever shown.

    `api_key` is "" for a server without keys; `model` may be "", since not every user of a profile
    needs it. A request may take `seconds`; `concurrency` of them run at once.
    """

    name: str
    base_url: str = field(repr=False)
    api_key: str = field(repr=False)
    model: str = ""
    seconds: float = SECONDS
    concurrency: int = CONCURRENCY
    samples: int = SAMPLES
    max_tokens: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        # What HTTP cannot send would fail deep inside the client, in messages that quote it.
        if not re.fullmatch(r"[!-~]*", self.api_key):
            raise InputError(
                f"The api_key of profile {self.name!r} cannot be sent. Copy it again: a key is one "
                "word of ASCII characters."
            )
        if _host(self.base_url) is None:
            raise InputError(
                f"The base_url of profile {self.name!r} is not a valid URL. Write it like "
                "https://example.org/v1."
            )
        if not (0 < self.seconds < math.inf and self.concurrency >= 1):
            raise InputError(
                f"The profile {self.name!r} has {self.seconds:g} seconds and a concurrency of "
                f"{self.concurrency}. Give it more than 0 seconds and a concurrency of at least 1."
            )

    def __str__(self) -> str:
        return self.name


def find_profile(name: str, folder: Path, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile, each field from the environment or else from profiles.json in `folder`.

    The variables are REFLECTIONFLOW_<NAME>_BASE_URL, ..._API_KEY, ..._MODEL, ..._SECONDS and
    ..._CONCURRENCY; the file is {"<name>": {"base_url": "...", "api_key": "...", "model": "..."}},
    with "seconds" and "concurrency" as numbers.

    The key may be absent if the address is this machine, and "" in the file if the server needs
    none. Raises InputError for a field that is missing or wrong; never shows key or address.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            "A profile's name has only letters, digits, - and _. Give the name of a profile, not a "
            "key."
        )
    prefix = f"REFLECTIONFLOW_{name.upper().replace('-', '_')}_"
    stored = _stored(folder / FILE).get(name, {})
    # Shells leave empty variables behind; they count as unset.
    url, key, model, seconds, concurrency = (
        environment.get(f"{prefix}{part.upper()}", "").strip() or str(stored.get(part, "")).strip()
        for part in ("base_url", "api_key", "model", "seconds", "concurrency")
    )
    needs_key = stored.get("api_key") != "" and not is_loopback(url)
    absent = (("API_KEY", needs_key and not key), ("BASE_URL", not url))
    if missing := " and ".join(part for part, is_absent in absent if is_absent):
        raise InputError(
            f"The profile {name} has no {missing}. Set {prefix}API_KEY and {prefix}BASE_URL in the "
            f"environment before you start, or write them into {FILE} (see the README)."
        )
    try:
        limits = float(seconds or SECONDS), int(concurrency or CONCURRENCY)
    except ValueError:
        raise InputError(
            f"The seconds or the concurrency of profile {name!r} is not a number. Write them as "
            'in {"seconds": 300, "concurrency": 2}.'
        ) from None
    return Profile(name, url, key, model, *limits)


def command_line_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the command line's profiles.json: REFLECTIONFLOW_HOME, or else the user's
    configuration (%APPDATA% on Windows, $XDG_CONFIG_HOME or ~/.config elsewhere)/reflectionflow."""
    if home := environment.get("REFLECTIONFLOW_HOME"):
        return Path(home).expanduser()
    standard = "APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME"
    return Path(environment.get(standard) or Path.home() / ".config") / "reflectionflow"


def is_loopback(url: str) -> bool:
    """Whether the address is this machine itself."""
    host = _host(url)
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False  # a name, which is not looked up


def _host(url: str) -> str | None:
    """The host of an http or https address; None if it is not a valid one."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is not a number
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]+", url):
        return None
    host = parts.hostname or ""
    # HTTP clients refuse names with parts that are empty or longer than DNS allows.
    named = ":" in host or all(0 < len(part) < 64 for part in host.removesuffix(".").split("."))
    return host if host and named else None


def _stored(file: Path) -> Mapping[str, Mapping[str, str | float]]:
    try:
        profiles = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        # Without the parser's message: it quotes a line, which may hold the key.
        raise InputError(f"{file.name} cannot be read. Write it as JSON, see the README.") from None
    if not isinstance(profiles, dict) or not all(map(_is_profile, profiles.values())):
        raise InputError(f"{file.name} is not a table of profiles. Write it as the README shows.")
    return profiles


def _is_profile(profile: object) -> bool:
    return isinstance(profile, dict) and all(
        isinstance(value, str) or (name in NUMBERS and isinstance(value, int | float))
        for name, value in profile.items()
    )
