"""The grammar of miniature prompts in GenEval's six families, parsed and written.

A `Spec` is the meaning of a prompt. A hash of its text makes every prompt of the grammar either a
training prompt or a held-out one.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ..record import InputError
from .world import COLOURS, SHAPES

FAMILIES = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
TEMPLATES = ("a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}", "{}")
COUNTS = {"two": 2, "three": 3, "four": 4}
RELATIONS = ("left of", "right of", "above", "below")
_HELD_OUT_ONE_IN = 5


@dataclass(frozen=True, slots=True)
class ShapeGroup:
    """`count` things of one shape; `colour` None is any colour."""

    count: int
    shape: str
    colour: str | None = None

    def __str__(self) -> str:
        noun = " ".join(filter(None, (self.colour, self.shape)))
        if self.count == 1:
            return f"a {noun}"
        word = next(word for word, count in COUNTS.items() if count == self.count)
        return f"{word} {noun}s"


@dataclass(frozen=True, slots=True)
class Spec:
    """The meaning of a prompt: one group, or two and the relation of the first to the second."""

    family: str
    groups: tuple[ShapeGroup, ...]
    relation: str | None = None

    def __str__(self) -> str:
        if len(self.groups) == 1:
            return str(self.groups[0])
        first, second = self.groups
        return f"{first} {self.relation or 'and'} {second}"


def spec_of(groups: tuple[ShapeGroup, ...], relation: str | None = None) -> Spec:
    """A spec with its family."""
    coloured = all(group.colour for group in groups)
    if relation:
        family = "position"
    elif len(groups) == 2:
        family = "color_attr" if coloured else "two_object"
    elif groups[0].count > 1:
        family = "counting"
    else:
        family = "colors" if coloured else "single_object"
    return Spec(family, groups, relation)


_NOUN = rf"(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})s?"
_GROUP = re.compile(rf"(an?|one|{'|'.join(COUNTS)}) {_NOUN}")
_JOIN = re.compile(
    rf" (and|(?:to the )?(?:left|right) of|above|below) (?=an? |one |{'|'.join(COUNTS)})"
)
_OPENING = re.compile(r"^(?:an?|the) (?:photo|picture|image|drawing) of ")


def parse(prompt: str) -> Spec:
    """The meaning of a prompt; raises InputError with examples for a text outside this grammar."""
    text = _OPENING.sub("", " ".join(prompt.lower().rstrip(" .").split()))
    parts = _JOIN.split(text)
    groups = [_GROUP.fullmatch(part) for part in parts[::2]]
    if len(groups) > 2 or not all(groups):
        raise InputError(
            f"The miniature does not understand {prompt!r}. It paints {'s, '.join(SHAPES)}s in "
            f"{', '.join(COLOURS)}: try 'a photo of three red circles' or "
            "'a photo of a blue square left of a yellow triangle'."
        )
    joint = parts[1].removeprefix("to the ") if len(parts) > 1 else "and"
    meant = tuple(
        ShapeGroup(COUNTS.get(match[1], 1), match[3], match[2])
        for match in groups
        if match is not None
    )
    return spec_of(meant, None if joint == "and" else joint)


def is_held_out(prompt: str) -> bool:
    """Whether training never uses this prompt (one in five, by a hash of the text)."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return int.from_bytes(digest[:4], "big") % _HELD_OUT_ONE_IN == 0


@cache
def specs(family: str) -> tuple[Spec, ...]:
    """Every meaning of a family."""
    return tuple(_SPECS[family]())


@cache
def prompts(family: str, held_out: bool) -> tuple[tuple[str, Spec], ...]:
    """Every prompt of one side of the split, with its meaning."""
    texts = ((t.format(spec), spec) for spec in specs(family) for t in TEMPLATES)
    return tuple((text, spec) for text, spec in texts if is_held_out(text) == held_out)


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
        for colours in ((None, None), *itertools.product(COLOURS, COLOURS)):
            groups = tuple(ShapeGroup(1, *kind) for kind in zip(pair, colours, strict=True))
            yield from (spec_of(groups, relation) for relation in RELATIONS)


def _attributes() -> Iterator[Spec]:
    for pair in itertools.permutations(SHAPES, 2):
        for colours in itertools.permutations(COLOURS, 2):
            yield spec_of(tuple(ShapeGroup(1, *kind) for kind in zip(pair, colours, strict=True)))


_SPECS = {
    "single_object": _singles,
    "two_object": _pairs,
    "counting": _counts,
    "colors": _colours,
    "position": _positions,
    "color_attr": _attributes,
}
