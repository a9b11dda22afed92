"""Compares prompts by their words, ignoring differences without meaning."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import cache

import numpy as np

_OPENING = re.compile(r"^(?:photo|picture|image|drawing) of ")
_SIGN = re.compile(r"[^\w\s]")
_READ = "#%&@"  # punctuation that counts as a word


def words(text: str) -> str:
    """A prompt without case, punctuation, articles and "a photo of".

    Combining marks and symbols such as "+", "€" and emoji are kept.
    """
    plain = unicodedata.normalize("NFC", text.casefold())
    plain = _SIGN.sub(lambda found: _what_counts(found[0]), plain)
    plain = " ".join(word for word in plain.split() if word not in ("a", "an", "the"))
    return _OPENING.sub("", plain)


@cache
def _what_counts(sign: str) -> str:
    kind = unicodedata.category(sign)
    if kind == "Cf" or sign in "\ufe0e\ufe0f":  # invisible, or a variation selector
        return ""
    counts = kind in ("Mn", "Mc", "Me", "Sc", "Sm", "So") and sign != "|"  # separates, like a comma
    return sign if counts or sign in _READ else " "


def digest(text: str) -> int:
    """A number from 1 to 2^64 - 1, equal for prompts with the same words."""
    found = hashlib.blake2b(words(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found, "big") or 1


def digests(prompts: Iterable[object]) -> np.ndarray:
    """Their digests (n,); 0 for an empty prompt or one that is not a text."""
    known = (prompt if isinstance(prompt, str) else "" for prompt in prompts)
    return np.array([digest(prompt) if prompt.strip() else 0 for prompt in known], np.uint64)
