"""Pictures that the user labelled: `labels.jsonl` beside them, one JSON object a line.

A line is a statement about a picture or says where its things are:

    {"file": "a.png", "statement": "the cup is red", "true": true}
    {"file": "a.png", "statement": "two dogs", "true": false, "kind": "number"}
    {"file": "a.png", "things": [{"name": "cup", "box": [0.1, 0.2, 0.4, 0.6], "colour": "red"}]}

Boxes are left, top, right, bottom as fractions of width and height. Of a name that occurs in a
picture's `things` every thing must be listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL.Image import Image, Resampling
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..detection.words import COLOURS
from ..judge_errors import COLOUR, KINDS, POSITION, kind_of
from ..pictures import PictureError, read_picture
from ..record import InputError
from .changes import hue_turned, mirrored
from .items import LABEL, PLANTED, TURNED, ExamItem, KnownPicture, KnownThing
from .planting import TURNS
from .settings import LABELS
from .wording import contradictions, hue_in, side_in

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
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
    """What the lines of a folder say, and its pictures about which they say nothing."""

    folder: Path
    statements: tuple[LabelLine, ...] = ()
    things: tuple[LabelLine, ...] = ()
    unlabelled: tuple[str, ...] = ()

    def items(self, rng: np.random.Generator) -> Iterator[ExamItem]:
        """The labelled statements, their contradictions, and changes that make them false."""
        for line in self.statements:
            yield from _items(self.folder, line, rng)

    def known(self) -> list[KnownPicture]:
        """The pictures whose things are listed; lines about one picture are taken together."""
        listed: dict[str, list[KnownThing]] = {}
        for line in self.things:
            found = [_known_thing(thing) for thing in line.things or ()]
            listed.setdefault(line.file, []).extend(found)
        return [
            KnownPicture(
                picture_of(self.folder, file), tuple(things), group=file, file=self.folder / file
            )
            for file, things in listed.items()
        ]


def read_labelled(folder: Path) -> LabelledPictures:
    """The pictures of a folder and its labels.jsonl, if it has one.

    Raises InputError for a folder without pictures, and for bad lines, by their numbers.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Give one with pictures after --images.")
    files = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in ENDINGS and f.is_file())
    if not files:
        raise InputError(f"{folder} holds no pictures. Give a folder with PNG or JPEG files.")
    lines = _lines(folder / LABELS)
    labelled = {line.file for line in lines}
    return LabelledPictures(
        folder,
        tuple(line for line in lines if line.statement is not None),
        tuple(line for line in lines if line.things is not None),
        tuple(name for name in files if name not in labelled),
    )


def picture_of(folder: Path, name: str) -> partial[Image]:
    """What reads a picture, reduced if it is large."""
    return partial(_read, folder / name)


def _read(path: Path) -> Image:
    try:
        picture = read_picture(path.read_bytes())
    except (OSError, PictureError) as error:
        why = error.reason if isinstance(error, PictureError) else error.strerror
        raise InputError(f"{path} cannot be used: {why}. Remove it, or save it again.") from error
    picture.thumbnail((LARGEST, LARGEST), Resampling.LANCZOS)
    return picture


def _lines(file: Path) -> list[LabelLine]:
    if not file.exists():
        return []
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}). Save it as UTF-8.") from error
    good, bad = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            good.append(_line(file.parent, line))
        except ValueError as error:
            bad.append(f"line {number}: {error}")
    if bad:
        more = f"; and {len(bad) - TOLD} more" if len(bad) > TOLD else ""
        raise InputError(
            f"{file} has lines that cannot be used: {'; '.join(bad[:TOLD])}{more}. Correct them, "
            "or remove them."
        )
    return good


def _line(folder: Path, text: str) -> LabelLine:
    """Raises ValueError with a clause for a line that cannot be used."""
    try:
        line = LabelLine.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise ValueError("it is not JSON") from error
    except ValidationError as error:
        raise ValueError(_first(error)) from error
    # Only a name: a label must not lead out of the folder.
    if Path(line.file).name != line.file or not (folder / line.file).is_file():
        raise ValueError(f"there is no picture {line.file!r:.60} beside it")
    return line


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def _known_thing(thing: LabelledThing) -> KnownThing:
    left, top, right, bottom = thing.box
    return KnownThing(thing.name, (left, top, right, bottom), thing.colour)


def _items(folder: Path, line: LabelLine, rng: np.random.Generator) -> Iterator[ExamItem]:
    said, picture = line.statement or "", picture_of(folder, line.file)
    kind, holds = line.kind or kind_of(said), line.true is True
    file = folder / line.file
    yield ExamItem(picture, said, holds, kind, LABEL, group=line.file, file=file)
    if not holds:  # the contrary of what does not hold need not hold either
        return
    for false, its_kind in contradictions(said, rng):
        yield ExamItem(picture, false, False, its_kind, TURNED, group=line.file, file=file)
    if side_in(said):
        change = partial(_mirrored, picture)
        yield ExamItem(change, said, False, POSITION, PLANTED, "mirrored", line.file)
    if hue_in(said):
        change = partial(_turned, picture, float(rng.choice(TURNS)))
        yield ExamItem(change, said, False, COLOUR, PLANTED, "hues turned", line.file)


def _mirrored(picture: partial[Image]) -> Image:
    return mirrored(picture())


def _turned(picture: partial[Image], turn: float) -> Image:
    return hue_turned(picture(), turn)
