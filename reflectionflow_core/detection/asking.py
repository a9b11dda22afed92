"""Uses a language model to turn prompts that are not plain into requirements for a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator
from typing_extensions import Self

from ..protocols import SILENT, Progress
from ..record import InputError
from ..vlm.answers import ask
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted, said, tidy
from .prompts import MOST, MOST_NEEDS, Wanted, place
from .rules import RELATIONS
from .words import COLOURS, singular

SHOWN_NAMES = 200  # names of a detector's vocabulary in the question

_THINGS = """\
A picture was painted from this prompt: {prompt}
A detector will look for things in it. Say what it must find, as
{{"things": [{{"name": ..., "number": ..., "how": "exactly" | "at least" | "at most", \
"colour": ... or null, "relation": ... or null, "of": ... or null}}], "rest": [...]}}
name: one kind of thing that can be pointed at, in the singular, such as "wine glass".{names}
number and how: "two cats" is exactly 2, "a cat" is at least 1, "no cats" is at most 0.
colour: one of {colours}, if the prompt gives the whole thing that colour.
relation: one of {relations}, if the prompt says so; "of" is the place in the list, counted from 0,
of the thing that it is relative to. Leave out every other position.
"""

_TAKE_APART = """\
{things}rest: each other thing that the prompt asks for and that this list does not say, in a few
words: materials, actions, style, light, other positions. Add nothing that the prompt does not ask
for."""

_NAMES = (
    " The detector knows only these names; use one where it means the same and is no wider: "
    "{names}. What has no such name goes into rest."
)

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
# Models write "none" in place of null.
WordsOrNone = Annotated[Words | None, AfterValidator(lambda words: said(words or "") or None)]


class AskedThing(BaseModel):
    """Objects of one kind that a model found in a prompt."""

    name: Name
    number: Annotated[int, Field(ge=0, le=MOST)] = 1
    how: Literal["exactly", "at least", "at most"] = "at least"
    colour: WordsOrNone = None
    relation: WordsOrNone = None
    of: int | None = None

    @property
    def least(self) -> int:
        return 0 if self.how == "at most" else self.number


class AskedThings(BaseModel):
    """The objects that a model found in a prompt; a position is relative to another of them."""

    things: Annotated[list[AskedThing], Field(max_length=MOST_NEEDS)]

    @model_validator(mode="after")
    def _positions(self) -> Self:
        for index, thing in enumerate(self.things):
            if thing.relation is None:
                continue
            if thing.relation not in RELATIONS:
                raise ValueError(f"{thing.relation!r} is none of {', '.join(RELATIONS)}")
            if thing.of is None or not 0 <= thing.of < len(self.things) or thing.of == index:
                raise ValueError("'of' is not the place of another thing in the list")
            if not (thing.least and self.things[thing.of].least):
                raise ValueError("a thing that may be missing has no relation: say it in rest")
        return self


class AskedScene(AskedThings):
    """Everything a model found in a prompt, including what no detector can see."""

    things: Annotated[list[AskedThing], Field(min_length=1, max_length=MOST_NEEDS)]
    rest: Annotated[list[Words], Field(max_length=20)] = []


def asked_by_model(
    vlm: Vlm, prompt: str, vocabulary: Sequence[str] | None, progress: Progress = SILENT
) -> tuple[list[Wanted], list[str]]:
    """What a prompt asks for, and what of it no detector can judge; takes one question.

    InputError if the model fails or its answer is unusable.
    """
    text = _TAKE_APART.format(things=question_of_things(prompt, vocabulary))
    question = Question(text, system=DATA_RULE, max_tokens=2048)
    (scene,) = ask(vlm, [question], AskedScene, progress, "verify")
    if isinstance(scene, Failure):
        raise InputError(
            f"The vision-language model could not parse the prompt: {scene.reason} Write the "
            "prompt plainly (such as: two red cups left of a dog), or ask another model."
        )
    return _wanted(scene, prompt)


def question_of_things(prompt: str, vocabulary: Sequence[str] | None) -> str:
    """The beginning of a question for AskedThings."""
    names = _NAMES.format(names=", ".join(vocabulary[:SHOWN_NAMES])) if vocabulary else ""
    return _THINGS.format(
        prompt=quoted(prompt),
        names=names,
        colours=", ".join(COLOURS),
        relations=", ".join(RELATIONS),
    )


def _wanted(scene: AskedScene, prompt: str) -> tuple[list[Wanted], list[str]]:
    rest = [words for words in map(said, scene.rest) if words]
    found, colours = things_of(scene)
    rest += [f"{colour} {name}" for name, colour in colours]
    for index, thing in enumerate(scene.things):
        if thing.relation is not None and thing.of is not None:
            place(found, index, thing.relation, thing.of, prompt)
    return found, rest


def things_of(scene: AskedThings) -> tuple[list[Wanted], list[tuple[str, str]]]:
    """The objects without positions, and (name, colour) for colours unknown to the rules."""
    found, colours = [], []
    for thing in scene.things:
        name, colour = singular(tidy(thing.name).lower()), (thing.colour or "").lower() or None
        if colour is not None and colour not in COLOURS:
            colours.append((name, tidy(colour)))
            colour = None
        # "at least 0" asks for nothing; models write it for "no cats".
        most = None if thing.how == "at least" and thing.number else thing.number
        found.append(Wanted(name, thing.least, most, colour))
    return found, colours
