"""Reads JSON as models write it: with trailing commas, comments, raw line breaks, other quotes.

Only unambiguous mistakes are accepted; truncated or unclear text is rejected. Libraries that repair
JSON are not used because they complete truncated objects.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 40  # nesting depth
CLOSING = {'"': '"', "'": "'", "“": '”“"', "”": "”", "„": '“”"', "‘": "’", "「": "」", "«": "»"}
# Limited length: otherwise many unclosed comments would take quadratic time.
_SPACE = re.compile(r"(?:\s+|(?://|#)[^\n]{0,500}(?=\n)|/\*.{0,500}?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_SHARE = re.compile(r"\s*/\s*\d+(?:\.\d+)?")  # as in "mark": 9/10
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class UnreadableError(ValueError):
    """Not an object; `read`: characters examined, `is_cut`: the text ends in a possible object."""

    def __init__(self, reason: str, read: int, is_cut: bool) -> None:
        super().__init__(reason)
        self.read, self.is_cut = read, is_cut


def read_object(text: str, start: int) -> tuple[dict[str, Any], int]:
    """The object whose brace is at `start`, and the index after it; raises UnreadableError."""
    reader = _Reader(text, start)
    try:
        return reader.members(0), reader.at
    except ValueError as error:
        is_cut = reader.at >= len(text)
        raise UnreadableError(str(error), max(reader.at - start, 1), is_cut) from None


class _Reader:
    def __init__(self, text: str, start: int) -> None:
        self.text, self.at = text, start

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("too deep")
        first = self._peek()
        if first == "{":
            return self.members(depth)
        if first == "[":
            return self.items(depth)
        if first in CLOSING:
            return self.string()
        if number := self._take(_NUMBER):
            share = self._take(_SHARE)
            return f"{number}{share}" if share else _number(number)
        word = self._take(_WORD).lower()
        if word not in _CONSTANTS:
            raise ValueError("neither a value nor a word of JSON")
        return _CONSTANTS[word]

    def members(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        while self._peek() != "}":
            name = self.string() if self._peek() in CLOSING else self._take(_WORD)
            if not name:
                raise ValueError("no name")
            self._expect(":：")
            found[name] = self.value(depth + 1)
            self._separate("}")
        self.at += 1
        return found

    def items(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        while self._peek() != "]":
            found.append(self.value(depth + 1))
            self._separate("]")
        self.at += 1
        return found

    def string(self) -> str:
        closing = CLOSING[self.text[self.at]]
        self.at += 1
        start = self.at
        ends = re.compile(rf"\\.|[{re.escape(closing)}]", re.DOTALL)
        while found := ends.search(self.text, self.at):
            self.at = found.end()
            if found[0][0] != "\\" and self._ends_here():
                return _unescaped(self.text[start : found.start()])
        self.at = len(self.text)
        raise ValueError("a string without an end")

    def _ends_here(self) -> bool:
        """Whether a quote ends its string, rather than being part of it."""
        behind = _SPACE.match(self.text, self.at)
        assert behind  # may match nothing
        return self.text[behind.end() : behind.end() + 1] in set(":：,，}]")

    def _peek(self) -> str:
        space = _SPACE.match(self.text, self.at)
        assert space
        self.at = space.end()
        if self.at >= len(self.text):
            raise ValueError("cut short")
        return self.text[self.at]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found[0] if found else ""

    def _expect(self, signs: str) -> None:
        if self._peek() not in signs:
            raise ValueError(f"no {signs[0]}")
        self.at += 1

    def _separate(self, end: str) -> None:
        if self._peek() != end:
            self._expect(",，")


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        value = float(digits)
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def _unescaped(inside: str) -> str:
    def plain(found: re.Match[str]) -> str:
        sign = found[0]
        if sign.startswith("\\u"):
            return json.loads(f'"{sign}"')
        return _ESCAPES.get(sign[1:], sign[1:])  # a backslash before another character is a mistake

    return re.sub(r"(?:\\u[0-9a-fA-F]{4})+|\\.", plain, inside, flags=re.DOTALL)
