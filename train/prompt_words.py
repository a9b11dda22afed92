"""When two prompts count as one: by their words, without what makes no difference."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import numpy as np

_OPENING = re.compile(r"^(?:photo|picture|image|drawing) of ")


def words(text: str) -> str:
    """A prompt without what makes no difference: case, signs, articles, "a photo of"."""
    plain = re.sub(r"[^\w\s]", " ", text.casefold())
    plain = " ".join(word for word in plain.split() if word not in ("a", "an", "the"))
    return _OPENING.sub("", plain)


def digest(text: str) -> int:
    """A number from 1 to 2^64 - 1 that is the same for prompts of the same words."""
    found = hashlib.blake2b(words(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found, "big") or 1


def digests(prompts: Iterable[object]) -> np.ndarray:
    """Those numbers (n,), 0 for what is no text or an empty one."""
    known = (prompt if isinstance(prompt, str) else "" for prompt in prompts)
    return np.array([digest(prompt) if prompt.strip() else 0 for prompt in known], np.uint64)
