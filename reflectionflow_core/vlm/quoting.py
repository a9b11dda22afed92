"""Quotes a server's words without the secrets of its profile."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .profiles import Profile
from .redaction import Redaction

SHOWN = 160  # characters of a server's error message quoted in a Failure
PIECE = 4  # shortest part of a key that a server may quote when it rejects it, in characters


def in_its_words(said: str, profile: Profile, redaction: Redaction, strict: bool = False) -> str:
    """The server's error message on one line, without key and addresses; "" if it is empty.

    Servers that reject a key quote parts of it: if `strict`, words sharing four characters in a row
    with the key are hidden.
    """
    words = redaction.of(" ".join(said.split()))
    if strict:
        key = profile.api_key
        words = " ".join("***" if _quotes_key(word, key) else word for word in words.split())
    words = re.sub(r"(?i)\bbearer\s+\S+|\b[a-z][a-z+.-]*://\S+", "***", words)
    address = urlsplit(profile.base_url)
    for part in (address.netloc, address.hostname or ""):
        words = words.replace(part, "***")
    return f' and said "{words[:SHOWN]}"' if words else ""


def _quotes_key(word: str, key: str) -> bool:
    pieces = [key[i : i + PIECE] for i in range(max(1, len(key) - PIECE + 1))]
    return bool(key) and any(piece in word for piece in pieces)
