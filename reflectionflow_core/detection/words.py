"""Numbers, colours, singulars and plurals in words, as GenEval writes them."""

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


# Singulars that no rule finds. The words of the last line are singular, or have none.
_SINGULARS = {
    **{plural: singular for singular, plural in _PLURALS.items()},
    **{"children": "child", "men": "man", "women": "woman", "geese": "goose", "feet": "foot"},
    **{"teeth": "tooth", "wolves": "wolf", "leaves": "leaf", "loaves": "loaf", "shoes": "shoe"},
    **{"scarves": "scarf", "shelves": "shelf", "calves": "calf", "oxen": "ox", "dice": "die"},
    **{word: word for word in ("deer", "fish", "jeans", "lens", "moose", "pants", "tennis")},
}


def singular(noun: str) -> str:
    """The singular of an English noun in the plural; a singular stays as it is."""
    before, space, last = noun.rpartition(" ")
    return f"{before}{space}{_singular(last)}"


def _singular(word: str) -> str:
    if word in _SINGULARS:
        return _SINGULARS[word]
    if word.endswith(("ss", "us", "is")) or not word.endswith("s") or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes", "oes")):
        return word[:-2]
    return word[:-2] if word.endswith("uses") and not word.endswith("ouses") else word[:-1]
