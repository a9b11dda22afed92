"""What a judge is asked: a statement about a picture, and whether it is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from ..evidence import Box

SCENE, LABEL, CONTROL, PLANTED, TURNED = SOURCES = (
    "drawn scenes",
    "labels",
    "unchanged pictures",
    "planted changes",
    "turned words",
)


@dataclass(frozen=True, slots=True)
class ExamItem:
    """A statement about a picture; `holds` is its truth and `kind` one of `judge_errors.KINDS`.

    `picture` makes the picture, always the same one, so that many items need little memory.
    `source` is one of SOURCES; `note` says what was done, such as "mirrored". Items of one `group`
    are about one picture and its changes. `file` is that of an unchanged picture.
    """

    picture: Callable[[], Image]
    statement: str
    holds: bool
    kind: str
    source: str
    note: str = ""
    group: str = ""
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class KnownThing:
    """An object in a picture: `box` as fractions of width and height, `colour` if known."""

    name: str
    box: Box
    colour: str = ""


@dataclass(frozen=True, slots=True)
class KnownPicture:
    """A picture with all objects of some names: every object of a name that occurs in `things`.

    There is none of the names in `absent`. `group` names the picture, `file` is where it is.
    """

    picture: Callable[[], Image]
    things: tuple[KnownThing, ...]
    absent: tuple[str, ...] = ()
    group: str = ""
    file: Path | None = None

    def named(self, name: str) -> tuple[KnownThing, ...]:
        return tuple(thing for thing in self.things if thing.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(thing.name for thing in self.things))

    @property
    def single(self) -> tuple[KnownThing, ...]:
        """The things that are the only ones of their name."""
        return tuple(thing for thing in self.things if len(self.named(thing.name)) == 1)
