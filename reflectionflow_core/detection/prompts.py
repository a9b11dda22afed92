"""Parses plain prompts into requirements for a detector, by rules and without a model.

A plain prompt names objects with numbers and colours, excluded objects, and relative positions: "a
photo of exactly two red cups left of a dog, and no cats". Other prompts are rejected, because a
part that is skipped silently could be wrong in the picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..record import InputError
from .rules import Need, Task
from .words import COLOURS, NUMBERS, PAIRED, singular

MOST = 15  # most objects of one kind; the rules count 16
MOST_NEEDS = 20

_LEAD = re.compile(
    r"(?:an? |the )?(?:photo|picture|image|photograph|snapshot) (?:of|showing) |"
    r"there (?:is|are) |show(?:ing)? "
)
_SPLIT = re.compile(r"\s*(?:[,;]|[.!](?=\s))\s*(?:and |but |with )?|\s+(?:and|but|with|&)\s+")
_RELATION = re.compile(
    r"(?P<first>.+?)(?: (?:is|are|stands?|standing|sits?|sitting|lies|lying|placed))?"
    r"(?: (?:directly|immediately|slightly|right|just|far))?"
    r" (?:(?:on |to )?the )?(?P<relation>(?:left|right)(?: side)? of|above|over|below|beneath|"
    r"underneath|under) (?P<second>.+)"
)
_WAYS = {"over": "above", "beneath": "below", "underneath": "below", "under": "below"}
_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_EXACT = ("exactly", "precisely", "only", "just")
_BOUNDS = {  # words before a number: (meaning of the number, what is added to it)
    **dict.fromkeys(_EXACT, ("exactly", 0)),
    **dict.fromkeys(("at least", "no fewer than", "no less than", "minimum"), ("at least", 0)),
    **dict.fromkeys(("at most", "no more than", "up to"), ("at most", 0)),
    **dict.fromkeys(("more than", "over"), ("at least", 1)),
    **dict.fromkeys(("fewer than", "less than"), ("at most", -1)),
}
_BOUND = re.compile(rf"({'|'.join(_BOUNDS)}) (.+)")
_NUMBERS = {word: number for number, word in enumerate(NUMBERS) if number}
_NUMBERS |= {"eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15}
_WORD = re.compile(r"[a-z][a-z'-]*")
# Words that cannot be part of an object's name.
_NOT_IN_NAMES = """
    a about across against all almost along and another any approximately are around as at
    background be being behind beneath beside between both bottom but by corner down during each
    every exactly few fewer for foreground from front has have he her his hold holds in inside into
    is it its left less like lots many middle more multiple near nearly neither next no nor not
    numerous of off on one ones only onto or other others our out outside over pair right roughly
    scene several she side some style that the their them these they this those through to together
    top toward towards under underwater up upper upside various wear wears where which while who
    with within without zero
    half dozen dozens sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy
    eighty ninety hundred hundreds thousand thousands million first second third fourth fifth
"""
_NO_NAME = frozenset(_NOT_IN_NAMES.split())
_NOUNS_IN_ING = {"building", "ceiling", "earring", "king", "ring", "string", "swing", "wing"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Objects of one kind named by a prompt: at least `least`, at most `most` (None: any number).

    `relation` is their position relative to the objects at index `target` of the same list.
    """

    name: str
    least: int = 1
    most: int | None = None
    colour: str | None = None
    relation: str | None = None
    target: int | None = None


class NotPlainError(InputError):
    """The rules cannot parse the prompt."""


def wanted_by(prompt: str) -> list[Wanted]:
    """What a plain prompt asks for; NotPlainError names what the rules cannot parse."""
    text = " ".join(prompt.lower().replace("\u2019", "'").split()).strip(" .!")
    text = _LEAD.sub("", text, count=1) if _LEAD.match(text) else text
    text = re.sub(r"\bwithout (?:any )?", "with no ", text).removeprefix("with ")
    found: list[Wanted] = []
    before = ""
    for chunk in filter(None, _SPLIT.split(text)):
        words = _LEAD.sub("", chunk) if _LEAD.match(chunk) else chunk
        if _forbids(before) and _is_bare(words):
            raise NotPlainError(f"Whether the word no is meant for {words!r:.80} too is not clear.")
        for part in _each_no(words):
            _add_chunk(found, part, prompt)
        before = words
    if not found:
        raise NotPlainError("The prompt names no object. Say in words what should be there.")
    return found


def _each_no(chunk: str) -> list[str]:
    """ "no dogs" and "no cows" for "no dogs or cows"; any other "or" is beyond the rules."""
    things = re.split(r" n?or (?:no )?", chunk.removeprefix("no ")) if _forbids(chunk) else ()
    return [f"no {thing}" for thing in things] or [chunk]


def _is_bare(words: str) -> bool:
    """Whether it has neither a number nor an article, as the "cars" of "no people and cars"."""
    return not (_forbids(words) or _BOUND.fullmatch(words)) and _quantity(words)[2] == words


def _forbids(words: str) -> bool:
    return words.startswith("no ") and not words.startswith(("no more", "no fewer", "no less"))


def _add_chunk(found: list[Wanted], chunk: str, prompt: str) -> None:
    match = _RELATION.fullmatch(chunk)
    if match is None:
        found.append(_named_things(chunk))
        return
    way = match["relation"].replace(" side", "")
    second = _index(found, _named_things(match["second"]), match["second"])
    first = _index(found, _named_things(match["first"]), match["first"])
    if not found[first].least:
        raise NotPlainError(f"The rules cannot place objects that may be missing: {chunk!r:.80}.")
    place(found, first, _WAYS.get(way, way), second, prompt)


def _index(found: list[Wanted], thing: Wanted, words: str) -> int:
    """The object's index in the list: "the dog" may have been named before."""
    if words.startswith("the "):
        for index, known in enumerate(found):
            if known.name == thing.name and thing.colour in (None, known.colour):
                return index
    found.append(thing)
    return len(found) - 1


def place(found: list[Wanted], first: int, relation: str, second: int, prompt: str) -> None:
    """Gives the position to the one of the two that was named later, as the rules require."""
    if first < second:
        first, relation, second = second, _OPPOSITE[relation], first
    if found[first].relation is not None or first == second or not found[second].least:
        raise NotPlainError(f"The positions in {prompt!r:.80} are too many for the rules.")
    found[first] = replace(found[first], relation=relation, target=second)


def _named_things(words: str) -> Wanted:
    if _forbids(words):
        thing = _noun_phrase(words.removeprefix("no ").removeprefix("other "))
        return replace(thing, least=0, most=0)
    bound = _BOUND.fullmatch(words)
    if bound is None:
        return _noun_phrase(words)
    kind, more = _BOUNDS[bound[1]]
    number, rest = _number(bound[2])
    if number is None or number + more < 0:
        raise NotPlainError(f"{words!r:.80} has no number that the rules understand.")
    number += more
    least, most = (number, None) if kind == "at least" else (0, number)
    if kind == "exactly":
        least = number
    return replace(_noun_phrase(rest), least=least, most=most)


def _number(words: str) -> tuple[int | None, str]:
    """The number at the start of a phrase, and the rest."""
    first, _, rest = words.partition(" ")
    if first.isascii() and first.isdigit():
        return int(first), rest
    if first in ("a", "an"):
        return 1, rest
    return _NUMBERS.get(first), rest


def _noun_phrase(words: str) -> Wanted:
    """A number or article, colours, and a name: "two red cups", "the dog", "cups"."""
    least, most, rest = _quantity(words)
    parts = rest.split()
    colour = None
    if len(parts) > 1 and parts[0] in COLOURS:
        colour, parts = parts[0], parts[1:]
    noun = " ".join(parts)
    bare = noun in COLOURS and noun != "orange"  # "an orange" is the fruit
    wrong = parts if bare else [part for part in parts if not _is_name(part)]
    if not noun or wrong or len(parts) > 3:
        raise NotPlainError(f"The rules cannot take {words!r:.80} apart" + _because(wrong))
    name = noun if noun in PAIRED else singular(noun)
    if least is None:
        least = 1 if name == noun else 2  # "dogs" means several
    if least > MOST or (most or 0) > MOST:
        raise InputError(
            f"{words!r:.80} is more than a detector can count. Ask for at most {MOST}."
        )
    return Wanted(name, least, most, colour)


def _because(wrong: Sequence[str]) -> str:
    return f": {wrong[0]!r:.80} is not the name of a thing." if wrong else "."


def _quantity(words: str) -> tuple[int | None, int | None, str]:
    """Lowest and highest number in a phrase, and the rest; None if it has no number."""
    pair = words.removeprefix("a pair of ")
    if pair in PAIRED:
        return 1, None, pair
    for article, least, most in (("a single ", 1, 1), ("a pair of ", 2, 2), ("some ", None, None)):
        if words.startswith(article):
            return least, most, words.removeprefix(article)
    if words.startswith("the "):
        number, rest = _number(words.removeprefix("the "))
        return (number, number, rest) if number else (None, None, words.removeprefix("the "))
    first = words.partition(" ")[0]
    number, rest = _number(words)
    if number is None or (number == 0):
        return None, None, words
    return (1, None, rest) if first in ("a", "an") else (number, number, rest)


def _is_name(word: str) -> bool:
    gerund = word.endswith("ing") and len(word) > 4 and word not in _NOUNS_IN_ING
    return bool(_WORD.fullmatch(word)) and word not in _NO_NAME and not gerund


def as_task(wanted: Sequence[Wanted]) -> Task:
    """The requirements in the form of GenEval's rules; numbers are exact unless stated otherwise.

    Objects with one name but several colours are told apart by colour: `objects.py` renames them.
    NotPlainError for a position between objects that cannot be told apart.
    """
    include, exclude = [], []
    numbers: dict[int, int] = {}  # index in `wanted` to index in `include`
    for index, thing in enumerate(wanted):
        if thing.most is not None:
            exclude.append(Need(thing.name, thing.most + 1, thing.colour))
        if not thing.least:
            continue
        target = numbers[thing.target] if thing.target is not None else None
        numbers[index] = len(include)
        include.append(Need(thing.name, thing.least, thing.colour, thing.relation, target))
    _check_told_apart(include)
    counting = any(need.count > 1 for need in include) or bool(exclude)
    return Task("counting" if counting else "objects", tuple(include), tuple(exclude))


def _check_told_apart(include: Sequence[Need]) -> None:
    for need in include:
        if need.target is not None:
            other = include[need.target]
            if (other.name, other.colour) == (need.name, need.colour):
                raise NotPlainError(f"Nothing tells one {need.name} from the other {need.name}.")
