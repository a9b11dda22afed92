"""Pictures that the user labelled: `labels.jsonl` beside them, one JSON object a line.

A line is a statement about a picture or says where its things are:

    {"file": "a.png", "statement": "the cup is red", "true": true}
    {"file": "a.png", "statement": "two dogs", "true": false, "kind": "number"}
    {"file": "a.png", "things": [{"name": "cup", "box": [0.1, 0.2, 0.4, 0.6], "colour": "red"}]}

Boxes are left, top, right, bottom as fractions of width and height. Of a name that occurs in a
picture's `things` every thing must be listed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL.Image import Image, Resampling
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..detection.words import COLOURS
from ..judge_errors import COLOUR, KINDS, POSITION, kind_of
from ..pictures import ENDINGS, PictureError, read_picture
from ..record import InputError
from ..texts import TextError, no_folder, parse_json, read_text, reason_of
from .changes import hue_turned, mirrored
from .items import LABEL, PLANTED, TURNED, ExamItem, KnownPicture, KnownThing
from .planting import TURNS, changed
from .settings import LABELS
from .wording import contradictions, hue_in, side_in

LARGEST = 1536  # pixels of the longer side; larger pictures are reduced before anything is changed
TOLD = 5  # bad lines that are told
Text = Annotated[str, Field(min_length=1, max_length=300)]


class LabelledThing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=60)]
    box: Annotated[list[float], Field(min_length=4, max_length=4)]
    colour: str = ""

    @model_validator(mode="after")
    def _is_possible(self) -> LabelledThing:
        left, top, right, bottom = self.box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError("a box must be left, top, right, bottom as fractions from 0 to 1")
        if self.colour and self.colour not in COLOURS:
            raise ValueError(f"the colour must be one of {', '.join(COLOURS)}")
        return self


class LabelLine(BaseModel):
    """One line: a statement with its truth, or the things of a picture."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: Annotated[str, Field(min_length=1)]
    statement: Text | None = None
    true: bool | None = None
    kind: str = ""
    things: Annotated[list[LabelledThing], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> LabelLine:
        if (self.statement is None) == (self.things is None):
            raise ValueError('a line needs either "statement" or "things"')
        if (self.statement is None) != (self.true is None):
            raise ValueError('a statement needs "true": true or false')
        if self.kind and (self.statement is None or self.kind not in KINDS):
            raise ValueError(f"the kind of a statement must be one of {', '.join(KINDS)}")
        return self


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """What lines say of pictures, by name, and the pictures about which they say nothing."""

    pictures: Mapping[str, KnownPicture]  # without things
    lines: tuple[LabelLine, ...] = ()

    @property
    def unlabelled(self) -> tuple[KnownPicture, ...]:
        labelled = {line.file for line in self.lines}
        return tuple(each for name, each in self.pictures.items() if name not in labelled)

    def items(self, rng: np.random.Generator) -> Iterator[ExamItem]:
        """The labelled statements, their contradictions, and changes that make them false."""
        for line in self.lines:
            if line.statement is not None:
                yield from _items(self.pictures[line.file], line, line.statement, rng)

    def known(self) -> list[KnownPicture]:
        """The pictures whose things are listed; lines about one picture are taken together."""
        listed: dict[str, list[KnownThing]] = {}
        for line in self.lines:
            if line.things is not None:
                found = [_known_thing(thing) for thing in line.things]
                listed.setdefault(line.file, []).extend(found)
        return [
            replace(self.pictures[name], things=tuple(things)) for name, things in listed.items()
        ]


def read_labelled(folder: Path) -> LabelledPictures:
    """The pictures of a folder and its labels.jsonl, if it has one.

    Raises InputError for a folder without pictures, and for bad lines, by their numbers.
    """
    if not folder.is_dir():
        raise no_folder(folder, "Give one with pictures after --images.")
    pictured = (file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)
    files = sorted(f for f in pictured if f.is_file() and not f.name.startswith("."))
    if not files:
        raise InputError(f"{folder} holds no pictures. Give a folder with PNG or JPEG files.")
    pictures = {
        _name(file.name): KnownPicture(partial(_read, file), (), group=file.name, file=file)
        for file in files
    }
    labels = folder / LABELS
    if not labels.exists():
        return LabelledPictures(pictures)
    try:
        text = read_text(labels)
    except (OSError, TextError) as error:
        why = error.reason if isinstance(error, TextError) else reason_of(error)
        raise InputError(f"{labels} cannot be read: {why}. Save it again as UTF-8.") from error
    return parse_labels(text, pictures, str(labels))


def numbered(images: Sequence[Image]) -> dict[str, KnownPicture]:
    """Pictures without files, by their numbers from 1 on."""
    return {
        str(number): KnownPicture(partial(_reduced, image), (), group=f"picture {number}")
        for number, image in enumerate(images, start=1)
    }


def parse_labels(text: str, pictures: Mapping[str, KnownPicture], where: str) -> LabelledPictures:
    """The labels in a text, a line each; raises InputError for bad lines, by their numbers."""
    good, bad = [], []
    for number, line in enumerate(text.split("\n"), start=1):  # a statement may hold U+2028
        if not line.strip():
            continue
        try:
            good.append(_line(line, pictures))
        except ValueError as error:
            bad.append(f"line {number}: {error}")
    if bad:
        more = f"; and {len(bad) - TOLD} more" if len(bad) > TOLD else ""
        raise InputError(
            f"{where} has lines that cannot be used: {'; '.join(bad[:TOLD])}{more}. Correct them, "
            "or remove them."
        )
    return LabelledPictures(pictures, tuple(good))


def _line(text: str, pictures: Mapping[str, KnownPicture]) -> LabelLine:
    """Raises ValueError with a clause for a line that cannot be used."""
    try:
        record = parse_json(text)
    except ValueError as error:
        raise ValueError("it is not JSON") from error
    try:
        line = LabelLine.model_validate(record)
    except ValidationError as error:
        raise ValueError(_first(error)) from error
    line = line.model_copy(update={"file": _name(line.file)})
    if line.file not in pictures:  # so that a label never leads out of the folder
        raise ValueError(f"there is no picture {line.file!r:.60}")
    return line


def _name(file: str) -> str:
    """The name of a picture in one form: macOS writes the accent of "é" as a letter of its own."""
    return unicodedata.normalize("NFC", file)


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def _read(path: Path) -> Image:
    try:
        picture = read_picture(path.read_bytes())
    except (OSError, PictureError) as error:
        why = error.reason if isinstance(error, PictureError) else error.strerror
        raise InputError(f"{path} cannot be used: {why}. Remove it, or save it again.") from error
    return _reduced(picture)


def _reduced(picture: Image) -> Image:
    smaller = picture.copy()
    smaller.thumbnail((LARGEST, LARGEST), Resampling.LANCZOS)
    return smaller


def _known_thing(thing: LabelledThing) -> KnownThing:
    left, top, right, bottom = thing.box
    return KnownThing(thing.name, (left, top, right, bottom), thing.colour)


def _items(
    known: KnownPicture, line: LabelLine, said: str, rng: np.random.Generator
) -> Iterator[ExamItem]:
    kind, holds, group = line.kind or kind_of(said), line.true is True, known.group
    yield ExamItem(known.picture, said, holds, kind, LABEL, group=group, file=known.file)
    if not holds:  # the contrary of what does not hold need not hold either
        return
    for false, its_kind in contradictions(said, rng):
        yield ExamItem(known.picture, false, False, its_kind, TURNED, "", group, known.file)
    if side_in(said):
        picture = partial(changed, known.picture, mirrored)
        yield ExamItem(picture, said, False, POSITION, PLANTED, "mirrored", group)
    if hue_in(said):
        turn = partial(hue_turned, turn=float(rng.choice(TURNS)))
        picture = partial(changed, known.picture, turn)
        yield ExamItem(picture, said, False, COLOUR, PLANTED, "hues turned", group)
