"""Statements about objects, and true statements made false by changing one word."""

from __future__ import annotations

import re

import numpy as np

from ..detection.words import NUMBERS, plural
from ..judge_errors import COLOUR, NUMBER, POSITION

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
# Colours that a picture can be turned from, and those that people take for them.
CHROMATIC = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
_ALIKE = (
    {"red", "orange", "pink", "brown"},
    {"orange", "yellow", "brown"},
    {"blue", "purple"},
    {"purple", "pink"},
)
_SIDES = {"left": "right", "right": "left", "above": "below", "below": "above"}
# What is said of a thing, not which thing is meant: "is red", "stands to the left".
_SIDE = re.compile(
    r"\b(?:is|are|stands?|sits?|lies|hangs?)(?: \w+){0,3}? (left|right|above|below)\b",
    re.IGNORECASE,
)
_HUE = re.compile(rf"\b(?:is|are)(?: all| both)? ({'|'.join(CHROMATIC)})\b", re.IGNORECASE)
_COUNT = re.compile(rf"\b({'|'.join(NUMBERS[1:])})\b", re.IGNORECASE)
_EXACT = re.compile(r"\b(?:exactly|only|just)\b", re.IGNORECASE)
_OPEN = re.compile(
    r"\b(?:no|not|none|never|without|neither|nor|or|either)\b|n['\u2019]t\b", re.IGNORECASE
)
_DEFINITE = re.compile(r"\s*(?:the|its|his|her|their|all|every|both)\b", re.IGNORECASE)


def exactly(count: int, name: str) -> str:
    """ "exactly three cups"; counts up to ten."""
    return f"exactly {NUMBERS[count]} {name if count == 1 else plural(name)}"


def one(name: str, colour: str = "") -> str:
    """ "a red cup"."""
    noun = f"{colour} {name}".strip()
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def placed(first: str, relation: str, second: str) -> str:
    """ "a cup left of a plate"; names may have their colours."""
    side = f"to the {relation}" if relation in ("left of", "right of") else relation
    return f"{one(first)} {side} {one(second)}"


def other_colours(colour: str) -> list[str]:
    """The colours that cannot be mistaken for this one."""
    alike = {colour}.union(*(group for group in _ALIKE if colour in group))
    return [other for other in CHROMATIC if other not in alike]


def contradictions(statement: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """False statements made by changing one word of a true one, each with its kind.

    A number is changed if the statement says that it is exact ("exactly two cups"). A colour or a
    side is changed if it is said of a definite object ("the cup is red"): of "a red cup" another
    one may be blue. [] if no word can be changed safely.
    """
    if _leaves_open(statement):
        return []
    found = []
    numbers = list(_COUNT.finditer(statement))
    if len(numbers) == 1 and _EXACT.search(statement):
        found.append((_turned(statement, numbers[0], _other_number(numbers[0][1], rng)), NUMBER))
    if hue := _said_of_certain(_HUE, statement):
        other = str(rng.choice(other_colours(hue[1].lower())))
        found.append((_turned(statement, hue, other), COLOUR))
    if side := _said_of_certain(_SIDE, statement):
        found.append((_turned(statement, side, _SIDES[side[1].lower()]), POSITION))
    return found


def hue_in(statement: str) -> str:
    """The colour that a statement gives to definite objects; "" if there is none."""
    hue = _said_of_certain(_HUE, statement)
    return hue[1].lower() if hue else ""


def side_in(statement: str) -> str:
    """ "left" or "right" if a statement says that of definite objects, else ""."""
    side = _said_of_certain(_SIDE, statement)
    return side[1].lower() if side and side[1].lower() in ("left", "right") else ""


def _said_of_certain(what: re.Pattern[str], statement: str) -> re.Match[str] | None:
    """The first match in a statement about definite objects that leaves nothing open."""
    certain = _DEFINITE.match(statement) and not _leaves_open(statement)
    return what.search(statement) if certain else None


def _turned(statement: str, word: re.Match[str], other: str) -> str:
    return statement[: word.start(1)] + other + statement[word.end(1) :]


def _leaves_open(statement: str) -> bool:
    """Whether it denies something or names alternatives: it may hold with another word, too."""
    return _OPEN.search(statement) is not None


def _other_number(word: str, rng: np.random.Generator) -> str:
    number = NUMBERS.index(word.lower())
    near = [n for n in (number - 1, number + 1) if 1 < n < len(NUMBERS)]
    return NUMBERS[int(rng.choice(near))]
