"""Removes keys from everything shown: also escaped, split, in another case, or only in part.

A server may write a key into an error or an answer. All its output passes through here first, and
JSON escapes are decoded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

HIDDEN = "***"
SECRET = 8  # shortest real key in characters; shorter ones are placeholders such as "EMPTY"
PIECE = 8  # length of a recognisable piece of a key, in letters and digits
WORDS_PIECE = (
    16  # the same for a key of words, such as "change-me-please", which may occur in answers
)
LONG = 20  # a text of this length is a key even if it looks like a word
KEYS = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_\w{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abp]-[\w-]{10,}"
    r"|gsk_\w{20,}|xai-\w{20,}|nvapi-[\w-]{20,}"
    r"|AIza[\w-]{30,}|r8_\w{20,}|AKIA[A-Z0-9]{16}"
    r"|(?:Bearer|(?i:api[ _-]?key))[\s:='\"]+[\w.-]{16,})"
)
_WORDS = re.compile(r"[A-Za-z]{1,12}(?:[-_.][A-Za-z]{1,12})+")
# One character in any form: escapes of JSON and Python (also twice), URLs, HTML. Runs
# of backslashes are limited to avoid quadratic time.
_UNIT = re.compile(
    r"\\{1,32}(?:u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{2}))|%([0-9a-fA-F]{2})"
    r"|&#x([0-9a-fA-F]{1,6});?|&#(?P<decimal>\d{1,7});?|\\{1,32}[nrtbf]|.",
    re.DOTALL,
)


def looks_like_a_key(text: str) -> bool:
    """Whether a text contains a provider's key."""
    return KEYS.search(text) is not None


def without_keys(text: str) -> str:
    """The text without keys of known providers, which users paste into the wrong place."""
    return KEYS.sub(HIDDEN, text)


def could_be_a_key(name: str) -> bool:
    """Whether a name should be hidden: a key of a known kind, or long and with digits."""
    digits = sum(character.isdigit() for character in name)
    return looks_like_a_key(name) or (len(name) >= LONG and digits >= 4)


class Redaction:
    """Replaces a profile's secrets in texts by ***, and pieces of keys; `private` only whole."""

    def __init__(self, secrets: Iterable[str], private: Iterable[str] = ()) -> None:
        secrets = [secret for secret in secrets if len(secret) >= SECRET]
        self._whole = [*secrets, *(value for value in private if len(value) >= SECRET)]
        sizes = {secret: size for secret in secrets if (size := _piece_size(secret))}
        self._pieces = {
            size: frozenset(p for s in sizes if sizes[s] == size for p in _pieces(s, size))
            for size in set(sizes.values())
        }

    def of(self, text: str) -> str:
        """The text without secrets in any notation; JSON stays valid."""
        for secret in self._whole:
            text = text.replace(secret, HIDDEN)
        if not self._pieces:
            return text
        letters, spans = _letters(text)
        places = [
            (spans[i][0], spans[i + size - 1][1])
            for size, pieces in self._pieces.items()
            for i in range(len(letters) - size + 1)
            if letters[i : i + size] in pieces
        ]
        return _without(text, sorted(places))


def _piece_size(secret: str) -> int:
    """The length of a recognisable piece of a key; 0 for placeholders such as "lm-studio"."""
    if _WORDS.fullmatch(secret):
        return WORDS_PIECE
    mixed = any(c.isdigit() for c in secret) or secret not in (secret.lower(), secret.upper())
    return PIECE if mixed or len(secret) >= LONG else 0


def _pieces(secret: str, size: int) -> list[str]:
    letters, _ = _letters(secret)
    return [letters[i : i + size] for i in range(len(letters) - size + 1)]


def _letters(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The letters and digits of a text in lower case, and their positions."""
    letters: list[str] = []
    spans: list[tuple[int, int]] = []
    for unit in _UNIT.finditer(text):
        for letter in unicodedata.normalize("NFKC", _character(unit)).casefold():
            if letter.isalnum():
                letters.append(letter)
                spans.append(unit.span())
    return "".join(letters), spans


def _character(unit: re.Match[str]) -> str:
    decimal = unit["decimal"]
    digits = next((group for group in unit.groups() if group), "")
    number = int(digits, 10 if decimal else 16) if digits else None
    if number is None:
        return unit[0] if len(unit[0]) == 1 else ""
    return chr(number) if number <= 0x10FFFF else ""


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    kept, at = "", 0
    for start, end in spans:
        if start > at or not at:
            kept += text[at:start] + HIDDEN
        at = max(at, end)
    return kept + text[at:]
