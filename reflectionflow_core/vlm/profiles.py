"""Profiles keep secrets on this machine; workflows and command lines contain only their names.

Anything typed may end up in histories, picture metadata and error messages, so keys are never
typed. The address is in the profile too: otherwise a shared workflow could send your key elsewhere.
Independent of ComfyUI and of servers.
"""

from __future__ import annotations

import json
import math
import os
import re
import string
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..record import InputError
from ..texts import parse_json, reason_of
from .redaction import could_be_a_key, looks_like_a_key

FILE = "profiles.json"
SECONDS, CONCURRENCY = 120.0, 4
SAMPLES = 8  # samples for estimating probabilities if the server gives none
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
PATHS = re.compile(r"/(?:(?:chat/)?completions|chat|responses|models)$")  # removed from addresses
SECRET_HEADER = re.compile(r"auth(?!or)|authoriz|key|token|secret|pass|cookie|credential", re.I)
AROUND = f"{string.whitespace}\"'\ufeff\u200b\xa0"  # removed from values: shells and pages add them
BEARER = re.compile(r"^(?:authorization:\s*)?bearer\s+", re.IGNORECASE)  # copied with a key
SCHEME = re.compile(r"^(?:bearer|basic|token)\s+", re.IGNORECASE)  # precedes the key in a header
PLAIN_WORDS = re.compile(
    r"[A-Za-z ,.'-]*"
)  # words in a header such as X-Title, which an answer may contain
RESERVED = {"host", "content-length", "content-type", "connection", "transfer-encoding"}
TEXTS = ("base_url", "api_key", "model", "ca_file")
NUMBERS = ("seconds", "concurrency", "samples", "max_tokens", "requests_per_minute", "price")
TABLES = ("headers", "extra")
FIELDS = (*TEXTS, *NUMBERS, *TABLES)
MOST = 10**9  # highest value of all numbers
WHOLE = ("concurrency", "samples", "max_tokens")  # whole numbers


@dataclass(frozen=True, slots=True)
class Profile:
    """An endpoint, its key and its model; only the name is ever shown.

    * `api_key`: "" for a server without keys.
    * `model`: may be "", since not every use needs it.
    * `seconds`: timeout of a request.
    * `concurrency`: requests at once.
    * `requests_per_minute`: 0 is unlimited.
    * `samples`: most answers sampled if the server gives no probabilities.
    * `max_tokens`: tokens for a thought before an answer; 0: 4096.
    * `price`: price of a call in any currency, for cost forecasts; 0: unknown.
    * `ca_file`: PEM file of trusted certificates.
    * `headers`, `extra`: HTTP headers and body fields added to every request.

    InputError for values that are out of range or cannot be sent.
    """

    name: str
    base_url: str = field(repr=False)
    api_key: str = field(repr=False)
    model: str = ""
    seconds: float = SECONDS
    concurrency: int = CONCURRENCY
    samples: int = SAMPLES
    max_tokens: int = 0
    requests_per_minute: float = 0.0
    price: float = 0.0
    ca_file: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        # Otherwise the HTTP client would fail with messages that quote the value.
        if not re.fullmatch(r"[!-~]*", self.api_key):
            raise InputError(
                f"The api_key of profile {self.name!r} cannot be sent. Copy it again: a key is one "
                "word of ASCII characters."
            )
        object.__setattr__(self, "base_url", _address(self.name, self.base_url))
        headers = {name: value.strip() for name, value in self.headers.items()}
        object.__setattr__(self, "headers", headers)
        for part, (value, least) in self._limits().items():
            if not least <= value <= MOST:
                more = "more than 0" if part == "seconds" else f"at least {least:g}"
                raise InputError(
                    f'The profile {self.name!r} has a wrong number as "{part}". Give it {more} '
                    f"and at most {MOST:,}."
                )
        if not all(map(_is_header, self.headers.items())):
            raise InputError(
                f'A header of profile {self.name!r} cannot be sent. Write "headers" as '
                '{"X-Name": "value"}, in ASCII.'
            )
        if "messages" in self.extra:
            raise InputError(
                f'The "extra" of profile {self.name!r} would replace every question. Take '
                '"messages" out of it.'
            )
        if looks_like_a_key(self.model):
            raise InputError(
                f"The model of profile {self.name!r} looks like an API key, which is not repeated. "
                'Write the key as "api_key", and the name of a model as "model".'
            )
        if not _is_json([self.model, self.extra]):
            raise InputError(
                f'The model or the "extra" of profile {self.name!r} cannot be sent. Write only '
                "what JSON has: no NaN or Infinity, and no half characters."
            )
        if self.ca_file and not Path(self.ca_file).expanduser().is_file():
            raise InputError(
                f"The profile {self.name!r} names a ca_file that does not exist. Give the path "
                "of a PEM file of certificates."
            )

    def __str__(self) -> str:
        return self.name

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must not be shown, not even in part: the key, keys in headers, in `extra` and
        in the path of the address."""
        held = (*_secrets_in(self.headers), *_secrets_in(self.extra))
        path = urlsplit(self.base_url).path.split("/")
        return (
            self.api_key,
            *(SCHEME.sub("", value) for value in held),
            *filter(could_be_a_key, path),
        )

    @property
    def private(self) -> tuple[str, ...]:
        """Values of other headers, which are hidden unless they are plain words."""
        return tuple(
            value
            for name, value in self.headers.items()
            if not SECRET_HEADER.search(name) and not PLAIN_WORDS.fullmatch(value)
        )

    def _limits(self) -> dict[str, tuple[float, float]]:
        """Numbers with their lowest values."""
        return {
            "seconds": (self.seconds, math.ulp(0)),
            "concurrency": (self.concurrency, 1),
            "samples": (self.samples, 1),
            "max_tokens": (self.max_tokens, 0),
            "requests_per_minute": (self.requests_per_minute, 0),
            "price": (self.price, 0),
        }


def find_profile(name: str, folder: Path, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile, each field from the environment or else from `folder`/profiles.json.

    The variables are REFLECTIONFLOW_<NAME>_BASE_URL, ..._API_KEY, ..._MODEL and so on for texts and
    numbers; the file is {"<name>": {"base_url": "...", "api_key": "...", "model": "..."}} with the
    fields of Profile. The key may be missing for an address on this machine, and "" in the file for
    a server without keys. InputError for a field that is missing, wrong or unknown; it never shows
    key, address or a name that may be a key. Other profiles of the file are not read.
    """
    if not name:
        raise InputError("The profile has no name. Give one, such as mine.")
    if not NAME.fullmatch(name) or looks_like_a_key(name):
        raise InputError(
            "A profile's name has only letters, digits, - and _. Give the name of a profile, not a "
            "key."
        )
    prefix = f"REFLECTIONFLOW_{name.upper().replace('-', '_')}_"
    table = _table(folder / FILE)
    stored = _checked(name, table.get(name, {}))
    for part in TABLES:
        if environment.get(f"{prefix}{part.upper()}"):
            raise InputError(
                f"The environment variable {prefix}{part.upper()} has no effect. Write "
                f'"{part}" of the profile into {FILE} instead (see docs/judges.md).'
            )
    # Empty variables count as unset.
    values = {
        part: environment.get(f"{prefix}{part.upper()}", "").strip(AROUND)
        or str(stored.get(part, "")).strip(AROUND)
        for part in (*TEXTS, *NUMBERS)
    }
    values["api_key"] = BEARER.sub("", values["api_key"])
    url, key = values["base_url"], values["api_key"]
    if url:
        _address(name, url)  # without http:// the address seems to be remote and to need a key
    needs_key = stored.get("api_key") != "" and not is_loopback(url)
    absent = (("API_KEY", needs_key and not key), ("BASE_URL", not url))
    if missing := " and ".join(part for part, is_absent in absent if is_absent):
        if could_be_a_key(name) and name not in table:
            raise InputError(
                "There is no profile of that name, which looks like a key and is not repeated. "
                f"Give the name of a profile in {FILE} (see docs/judges.md)."
            )
        if not url and name not in table:
            _explain_unknown(name, table)
        raise InputError(
            f"The profile {name} has no {missing}. Set {prefix}API_KEY and {prefix}BASE_URL in the "
            f"environment before you start, or write them into {FILE} (see docs/judges.md)."
        )
    numbers = {part: _number(name, part, values[part]) for part in NUMBERS if values[part]}
    texts = {part: values[part] for part in TEXTS}
    tables = {part: stored[part] for part in TABLES if part in stored}
    return Profile(name, **texts, **numbers, **tables)


def _explain_unknown(name: str, table: Mapping[str, Any]) -> None:
    """Raises InputError if the file has a profile without a name, or with almost this one."""
    if isinstance(table.get("base_url"), str):
        raise InputError(
            f'{FILE} holds a profile without its name. Write it as {{"{name}": {{...}}}}, as in '
            "docs/judges.md."
        )
    for other in table:
        if NAME.fullmatch(other.strip()) and other.strip().lower() == name.lower():
            raise InputError(
                f"There is no profile {name!r} in {FILE}, but {other!r}. Write both the same way."
            )


def command_line_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the command line's profiles.json.

    REFLECTIONFLOW_HOME, or "reflectionflow" in the user's configuration folder: %APPDATA% on
    Windows, otherwise $XDG_CONFIG_HOME or ~/.config.
    """
    if home := environment.get("REFLECTIONFLOW_HOME"):
        return Path(home).expanduser()
    standard = "APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME"
    return Path(environment.get(standard) or Path.home() / ".config") / "reflectionflow"


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine."""
    host = _host(url)
    try:
        address = None if host == "localhost" else ip_address(host or "")
        # Servers print 0.0.0.0, the address at which they listen, as their own.
        return address is None or address.is_loopback or address.is_unspecified
    except ValueError:
        return False  # names are not looked up


def _host(url: str) -> str | None:
    """The host of an http or https address; None if the address is invalid."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if the port is not a number
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]+", url):
        return None
    host = parts.hostname or ""
    # HTTP clients reject names with parts that are empty or too long for DNS.
    named = ":" in host or all(0 < len(part) < 64 for part in host.removesuffix(".").split("."))
    return host if host and named else None


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _secrets_in(table: Mapping[str, Any]) -> Iterator[str]:
    """Texts that are named as keys are, also within other tables."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _secrets_in(value)
        elif isinstance(value, str) and SECRET_HEADER.search(name):
            yield value


def _is_header(header: tuple[str, str]) -> bool:
    name, value = header
    is_name = re.fullmatch(r"[!#$%&'*+.^_`|~\w-]+", name, re.ASCII) and name.lower() not in RESERVED
    return bool(is_name and re.fullmatch(r"[ -~]*", value))


def _address(name: str, url: str) -> str:
    """The base_url, shortened if a full address was pasted; InputError if invalid."""
    url = url.strip()
    if _host(url) is None:
        raise InputError(
            f"The base_url of profile {name!r} is not a valid URL. Write it like "
            "https://example.org/v1."
        )
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise InputError(
            f"The base_url of profile {name!r} has a user or a password, which are not sent from "
            'there. Take them out; give "headers" an "Authorization": "Basic ...", with the base64 '
            "of user:password."
        )
    if parts.query or parts.fragment:
        raise InputError(
            f"The base_url of profile {name!r} has a query or a fragment. Leave out what follows "
            'the ? or #; further fields of a request go into "extra".'
        )
    path = PATHS.sub("", parts.path.rstrip("/")).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _number(name: str, part: str, text: str) -> float | int:
    try:
        value = float(text)
        if part not in WHOLE:
            return value
        return int(text) if text.isdecimal() or value != int(value) else int(value)
    except (ValueError, OverflowError):
        whole = "whole " if part in WHOLE else ""
        raise InputError(
            f'"{part}" of profile {name!r} is not a {whole}number. Write it as in '
            '{"seconds": 300, "concurrency": 2}.'
        ) from None


def _table(file: Path) -> Mapping[str, Any]:
    try:
        profiles = parse_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # its messages give a position and quote nothing
        why = reason_of(error)
        raise InputError(
            f"{file.name} cannot be read ({why}). Write it as JSON, see docs/judges.md."
        ) from None
    if not isinstance(profiles, dict):
        raise InputError(f"{file.name} is not a table of profiles. Write it as in docs/judges.md.")
    return profiles


def _checked(name: str, stored: object) -> Mapping[str, Any]:
    """The stored profile; InputError, without its values, for invalid fields."""
    if not isinstance(stored, dict):
        raise InputError(
            f"The profile {name!r} in {FILE} is not a table of fields. Write it as in "
            "docs/judges.md."
        )
    unknown = [field for field in stored if field not in FIELDS]
    if unknown:
        shown = ", ".join(f'"{field[:40]}"' for field in unknown if not could_be_a_key(field))
        raise InputError(
            f"The profile {name!r} in {FILE} has unknown fields{': ' if shown else ''}{shown}. It "
            f'may have {", ".join(FIELDS)}; fields of the requests themselves go into "extra".'
        )
    for part, value in stored.items():
        if not _fits(part, value):
            kind = "a table" if part in TABLES else "a number" if part in NUMBERS else "a text"
            raise InputError(
                f'"{part}" of profile {name!r} in {FILE} is not {kind}. Write it as in '
                "docs/judges.md."
            )
    return stored


def _fits(part: str, value: object) -> bool:
    if part == "headers":
        return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    if part == "extra":
        return isinstance(value, dict)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) or (part in NUMBERS and is_number)
