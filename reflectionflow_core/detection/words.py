"""Numbers, colours and plurals in words, as GenEval writes them."""

from __future__ import annotations

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
)
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLURALS = {
    "person": "people",
    "sheep": "sheep",
    "mouse": "mice",
    "knife": "knives",
    "scissors": "scissors",
    "skis": "skis",
}


def quantity(count: int, noun: str) -> str:
    """A number of things in words: "a red cup", "an apple", "two wine glasses"."""
    if count != 1:
        word = NUMBERS[count] if count < len(NUMBERS) else str(count)
        return f"{word} {plural(noun)}"
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """The plural of an English noun, such as those that detectors know."""
    before, space, last = noun.rpartition(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last = f"{last}es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last = f"{last}s"
    return f"{before}{space}{last}"
