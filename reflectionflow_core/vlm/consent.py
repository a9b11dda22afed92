"""Pictures are sent only to hosts that the user has agreed to, once per host.

Servers on this machine or in a private network need no consent. Without a terminal, consent is
given by REFLECTIONFLOW_SEND_PICTURES, an option of the command line, or an input of a node.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ..record import InputError
from .kept import KeptTable
from .profiles import Profile

FILE = "consent.json"
VARIABLE = "REFLECTIONFLOW_SEND_PICTURES"  # hosts separated by commas, or "any"
ANY = "any"
LOCAL_DOMAINS = (".localhost", ".local", ".lan", ".internal", ".home.arpa")


def host_of(profile: Profile) -> str:
    """The host of a profile's address in lower case, without user, port, path or query."""
    return (urlsplit(profile.base_url).hostname or "").rstrip(".")


def is_private(host: str) -> bool:
    """Whether a host is this machine or in its private network, judged by its name only.

    No name is looked up. A name without a dot is local unless it is a number.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host.endswith(LOCAL_DOMAINS) or ("." not in host and host[:1].isalpha())
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped  # older Python versions call all of these private
    return address.is_private or address.is_loopback or address.is_link_local


@dataclass(frozen=True, slots=True)
class PictureConsent:
    """The hosts that may get pictures: those in `folder`/consent.json and in the environment.

    `advice` says how to agree if there is no terminal.
    """

    folder: Path
    advice: str = "Give --send-pictures once"
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def missing(self, profile: Profile) -> str:
        """The host that needs consent; "" if pictures may be sent."""
        host = host_of(profile)
        listed = self.environment.get(VARIABLE, "").lower().replace(",", " ").split()
        allowed = is_private(host) or ANY in listed or host in listed
        return "" if allowed or host in self._table.read() else host

    def give(self, profile: Profile) -> str:
        """Saves the user's consent; returns a notice if it cannot be saved, otherwise ""."""
        if not (host := self.missing(profile)):
            return ""
        return self._table.put(host, {"agreed": datetime.now(timezone.utc).isoformat()})

    def require(self, profile: Profile) -> None:
        """InputError if the user has not agreed to the profile's host."""
        if host := self.missing(profile):
            raise InputError(
                f"Pictures would be sent to {host} (profile {profile}), and nobody has agreed to "
                f"that yet. {self.advice}, or set {VARIABLE}={host}."
            )

    @property
    def _table(self) -> KeptTable:
        return KeptTable(self.folder / FILE)
