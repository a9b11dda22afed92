"""The grammar of miniature prompts, parsed and written: GenEval's six families and four harder.

A `Spec` is the meaning of a prompt. A hash of the meaning makes it either a training prompt or a
held-out one, in whatever words or order it is asked for.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from ..record import InputError
from .world import COLOURS, SHAPES, SIZES

FAMILIES = (
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attr",
    "size",
    "between",
    "none_of",
    "composition",
)
TEMPLATES = ("a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}", "{}")
COUNTS = {"two": 2, "three": 3, "four": 4}
_NUMBERS = {"one": 1, **COUNTS, "five": 5, "six": 6, "seven": 7, "eight": 8}  # that people type
BETWEEN = "between"
SIDES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
RELATIONS = (*SIDES, BETWEEN)
_COMPOSED = (3, 6)  # things in a composition of the grammar
_MOST_THINGS = 8  # in a prompt that somebody types
_HELD_OUT_ONE_IN = 5
_SALT = 58  # with this one even the smallest families have about their fifth
_COMPOSITIONS_ONE_IN = 41  # there are 162,680: a part is plenty


@dataclass(frozen=True, slots=True)
class ShapeGroup:
    """`count` things of one shape, in any colour or size that is None.

    None of them may have the colour `but_not`.
    """

    count: int
    shape: str
    colour: str | None = None
    size: str | None = None
    but_not: str | None = None

    @property
    def noun(self) -> str:
        """Without its number: "small red circle"."""
        return " ".join(filter(None, (self.size, self.colour, self.shape)))

    def __str__(self) -> str:
        if self.count == 1:
            return f"a {self.noun}" + (f" that is not {self.but_not}" if self.but_not else "")
        word = next(word for word, count in _NUMBERS.items() if count == self.count)
        exception = f", none of them {self.but_not}" if self.but_not else ""
        return f"{word} {plural(self.noun)}{exception}"


@dataclass(frozen=True, slots=True)
class Relation:
    """How one group, of one thing, stands to one other or, "between", to two; numbers of groups."""

    name: str
    subject: int
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Spec:
    """The meaning of a prompt: groups of things, and how some of them stand to each other."""

    family: str
    groups: tuple[ShapeGroup, ...]
    relations: tuple[Relation, ...] = ()

    def __str__(self) -> str:
        parts = self.phrases(str)
        return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))

    def phrases(self, named: Callable[[ShapeGroup], str]) -> list[str]:
        """Its parts in order, each a group or a relation with its groups, as `named` names them."""
        parts, said = [], set[int]()
        for number, group in enumerate(self.groups):
            relation = next((r for r in self.relations if r.subject == number), None)
            if relation:
                others = " and ".join(named(self.groups[other]) for other in relation.objects)
                parts.append(f"{named(group)} {relation.name} {others}")
                said.update(relation.objects)
            elif number not in said:
                parts.append(named(group))
        return parts

    @cached_property
    def meaning(self) -> str:
        """Equal for two specs that ask for the same, whatever their order and words."""
        counts = Counter[tuple[str, ...]]()
        for group in self.groups:
            counts[_kind(group)] += group.count
        things = sorted(f"{count} {' '.join(kind)}" for kind, count in counts.items())
        return "; ".join((*things, *sorted(map(self._place, self.relations))))

    def _place(self, relation: Relation) -> str:
        subject, *objects = (
            " ".join(_kind(self.groups[i])) for i in (relation.subject, *relation.objects)
        )
        if relation.name == BETWEEN:
            return f"{subject} between {' and '.join(sorted(objects))}"
        if relation.name in ("right of", "below"):
            return f"{objects[0]} {SIDES[relation.name]} {subject}"
        return f"{subject} {relation.name} {objects[0]}"


def _kind(group: ShapeGroup) -> tuple[str, ...]:
    exception = f"not {group.but_not}" if group.but_not else None
    return tuple(filter(None, (group.size, group.colour, group.shape, exception)))


def spec_of(groups: tuple[ShapeGroup, ...], relations: tuple[Relation, ...] = ()) -> Spec:
    """A spec with its family."""
    return Spec(_family(groups, relations), groups, relations)


def _family(groups: tuple[ShapeGroup, ...], relations: tuple[Relation, ...]) -> str:
    things = sum(group.count for group in groups)
    if things == 3 and any(relation.name == BETWEEN for relation in relations):
        return "between"
    if len(groups) > 1 and things > 2:
        return "composition"
    if any(group.but_not for group in groups):
        return "none_of"
    if any(group.size for group in groups):
        return "size"
    if relations:
        return "position"
    coloured = all(group.colour for group in groups)
    return _PLAIN[things if len(groups) == 1 else "pair", coloured]


_PLAIN = {
    (1, False): "single_object",
    (1, True): "colors",
    ("pair", False): "two_object",
    ("pair", True): "color_attr",
    **{
        (count, coloured): "counting"
        for count in range(2, _MOST_THINGS + 1)
        for coloured in (False, True)
    },
}

_NUMBER = rf"an?|{'|'.join(_NUMBERS)}"
_GROUP = re.compile(
    rf"({_NUMBER}) (?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLOURS)}) )?"
    rf"({'|'.join(SHAPES)})(?:e?s)?\b"
    r"(?:(,? (?:none|neither) of them(?: is| are)?| that (?:is|are) not)"
    rf" ({'|'.join(COLOURS)})\b)?"
)
_RELATION = re.compile(rf" (?:is )?(?:to the )?({'|'.join(RELATIONS)}) ")
_COMMA = re.compile(r",? and |, ")
_OPENING = re.compile(r"^(?:(?:an?|the) (?:photo|picture|image|drawing) of|there (?:is|are)) ")


def parse(prompt: str) -> Spec:
    """The meaning of a prompt; raises InputError with examples for a text outside this grammar."""
    text = _OPENING.sub("", " ".join(prompt.lower().rstrip(" .").split()))
    spec = _PromptReader(text).spec()
    if spec is None:
        raise InputError(
            f"The miniature does not understand {prompt!r:.80}. It paints "
            f"{', '.join(map(plural, SHAPES))} in {', '.join(COLOURS)}: "
            "try 'a photo of three red circles', 'a blue square left of a yellow triangle', 'a red "
            "cross between a circle and a square', 'a big circle and a small circle' or 'two "
            "squares, none of them red'."
        )
    return spec


def plural(noun: str) -> str:
    """Of a noun of this world, which may have adjectives before it."""
    return f"{noun}es" if noun.endswith("ss") else f"{noun}s"


class _PromptReader:
    """Reads a text from left to right; whatever does not fit makes it None."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0
        self.groups: list[ShapeGroup] = []
        self.relations: list[Relation] = []

    def spec(self) -> Spec | None:
        while self._group() is not None and self._relation():
            if self.position == len(self.text):
                return self._whole()
            if self._next(_COMMA) is None:
                return None
        return None

    def _whole(self) -> Spec | None:
        if sum(group.count for group in self.groups) > _MOST_THINGS:
            return None
        related = {i for r in self.relations for i in (r.subject, *r.objects)}
        if any(self.groups[i].count > 1 for i in related):
            return None
        return spec_of(tuple(self.groups), tuple(self.relations))

    def _group(self) -> int | None:
        """The number of the group that is read."""
        if (found := self._next(_GROUP)) is None:
            return None
        number, size, colour, shape, exception, but_not = found.groups()
        count = _NUMBERS.get(number, 1)
        of_several = exception is not None and "that is" not in exception
        if exception and of_several != (count > 1):
            return None
        if colour and but_not == colour:
            return None
        if colour:
            but_not = None  # a red circle is not blue anyway
        self.groups.append(ShapeGroup(count, shape, colour, size, but_not))
        return len(self.groups) - 1

    def _relation(self) -> bool:
        """Reads how the last group stands to those that follow, if it says so."""
        subject = len(self.groups) - 1
        if (found := self._next(_RELATION)) is None:
            return True
        first = self._group()
        if found[1] != BETWEEN:
            objects = [first]
        else:
            objects = [first, self._group() if self._next(_COMMA) else None]
        known = tuple(number for number in objects if number is not None)
        self.relations.append(Relation(found[1], subject, known))
        return len(known) == len(objects)

    def _next(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if found := pattern.match(self.text, self.position):
            self.position = found.end()
        return found


def is_held_out(spec: Spec) -> bool:
    """Whether training never asks for this (one meaning in five, by its hash)."""
    digest = hashlib.sha256(f"{_SALT} {spec.meaning}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % _HELD_OUT_ONE_IN == 0


@cache
def specs(family: str) -> tuple[Spec, ...]:
    """Specs of every meaning of a family, in every order of its things; of compositions a part."""
    return tuple(_SPECS[family]())


@cache
def sides(family: str, held_out: bool) -> tuple[Spec, ...]:
    """The specs of one side of the split."""
    return tuple(spec for spec in specs(family) if is_held_out(spec) == held_out)


@cache
def prompts(family: str, held_out: bool) -> tuple[tuple[str, Spec], ...]:
    """Every prompt of one side of the split, with its meaning."""
    return tuple((t.format(spec), spec) for spec in sides(family, held_out) for t in TEMPLATES)


def _singles() -> Iterator[Spec]:
    yield from (spec_of((ShapeGroup(1, shape),)) for shape in SHAPES)


def _colours() -> Iterator[Spec]:
    for colour, shape in itertools.product(COLOURS, SHAPES):
        yield spec_of((ShapeGroup(1, shape, colour),))


def _counts() -> Iterator[Spec]:
    for count, colour, shape in itertools.product(COUNTS.values(), (None, *COLOURS), SHAPES):
        yield spec_of((ShapeGroup(count, shape, colour),))


def _pairs() -> Iterator[Spec]:
    for first, second in itertools.permutations(SHAPES, 2):
        yield spec_of((ShapeGroup(1, first), ShapeGroup(1, second)))


def _positions() -> Iterator[Spec]:
    for pair in itertools.permutations(SHAPES, 2):
        for groups in _coloured(pair):
            yield from (spec_of(groups, (Relation(side, 0, (1,)),)) for side in SIDES)


def _attributes() -> Iterator[Spec]:
    for pair in itertools.permutations(SHAPES, 2):
        for colours in itertools.permutations(COLOURS, 2):
            yield spec_of(tuple(ShapeGroup(1, *kind) for kind in zip(pair, colours, strict=True)))


def _sizes() -> Iterator[Spec]:
    kinds = itertools.product((1, 2, 3), SHAPES, (None, *COLOURS), SIZES)
    yield from (spec_of((ShapeGroup(*kind),)) for kind in kinds)
    for shapes in itertools.product(SHAPES, repeat=2):
        for sizes in itertools.permutations(SIZES):
            kinds = zip(shapes, sizes, strict=True)
            yield spec_of(tuple(ShapeGroup(1, shape, size=size) for shape, size in kinds))


def _betweens() -> Iterator[Spec]:
    for subject in SHAPES:
        others = (shape for shape in SHAPES if shape != subject)
        for pair in itertools.combinations(others, 2):
            for groups in _coloured((subject, *pair)):
                yield spec_of(groups, (Relation(BETWEEN, 0, (1, 2)),))


def _exceptions() -> Iterator[Spec]:
    for count, shape, colour in itertools.product(COUNTS.values(), SHAPES, COLOURS):
        yield spec_of((ShapeGroup(count, shape, but_not=colour),))


def _compositions() -> Iterator[Spec]:
    """Two or three kinds of things, each of one colour; now and then two of them in a relation."""
    every = itertools.chain(_kinds(2), _kinds(3))
    for shapes, colours, counts, placed in itertools.islice(every, 0, None, _COMPOSITIONS_ONE_IN):
        groups = list(map(ShapeGroup, counts, shapes, colours))
        if placed is None:
            yield spec_of(tuple(groups))
            continue
        side, subject, other = placed
        first = groups[subject], groups[other]
        rest = (group for group in groups if group not in first)
        yield spec_of((*first, *rest), (Relation(side, 0, (1,)),))


def _kinds(kinds: int) -> Iterator[tuple[Any, ...]]:
    several = [
        counts
        for counts in itertools.product((1, *COUNTS.values()), repeat=kinds)
        if _COMPOSED[0] <= sum(counts) <= _COMPOSED[1]
    ]
    for shapes in itertools.combinations(SHAPES, kinds):
        for colours in itertools.product(COLOURS, repeat=kinds):
            for counts in several:
                yield shapes, colours, counts, None
                single = [i for i, count in enumerate(counts) if count == 1]
                for pair in itertools.permutations(single, 2):
                    yield from ((shapes, colours, counts, (side, *pair)) for side in SIDES)


def _coloured(shapes: tuple[str, ...]) -> Iterator[tuple[ShapeGroup, ...]]:
    """One thing of each shape: without colours, then in all colours."""
    count = len(shapes)
    for colours in ((None,) * count, *itertools.product(COLOURS, repeat=count)):
        yield tuple(ShapeGroup(1, *kind) for kind in zip(shapes, colours, strict=True))


_SPECS = {
    "single_object": _singles,
    "two_object": _pairs,
    "counting": _counts,
    "colors": _colours,
    "position": _positions,
    "color_attr": _attributes,
    "size": _sizes,
    "between": _betweens,
    "none_of": _exceptions,
    "composition": _compositions,
}
