"""What a person says between two rounds of a search; it is part of the History.

A search replays its History, so the same answers lead to the same pictures.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .evidence import Box

NO_TEXTS: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture is to change: in its `boxes`, and where its `mask` is white.

    A box is left, top, right, bottom as fractions (0 to 1) of width and height. The mask is a PNG
    of any size, as bytes, that is stretched over the picture; b"" is none. Raises ValueError for a
    box that is empty or outside the picture, and for neither box nor mask.
    """

    boxes: tuple[Box, ...] = ()
    mask: bytes = b""

    def __post_init__(self) -> None:
        if not self.boxes and not self.mask:
            raise ValueError("A place needs a box or a mask.")
        for left, top, right, bottom in self.boxes:
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError("A box must be fractions of the picture with left < right.")


NO_PLACES: Mapping[int, Place] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Feedback:
    """A person's answer when the history had `after` pictures; pictures are numbered from 0.

    * Without any other field: continue as planned.
    * `picked`: the winner. Of the pictures so far only it is continued, and only it can be the
      best.
    * `vetoed`: these pictures are not continued and cannot be the best.
    * `reflections`: what to change in a picture in the next round, in the person's words.
    * `places`: where to change a picture in the next round.
    * `prompt`: pictures are painted from it until the next feedback; "" is the search's choice. The
      judge is always asked about the search's own prompt.
    * `planned`: the reflections for the next round that were written before the person was asked,
      by position ("" for none); `parents` are the pictures that they are about (None for none) and
      `calls` is their cost. A correction of the same picture takes its reflection from here; none
      is written again.

    Raises ValueError for a picture that does not exist yet, and for a winner that is vetoed.
    """

    after: int
    picked: int | None = None
    vetoed: tuple[int, ...] = ()
    reflections: Mapping[int, str] = field(default_factory=lambda: NO_TEXTS)
    places: Mapping[int, Place] = field(default_factory=lambda: NO_PLACES)
    prompt: str = ""
    planned: tuple[str, ...] = ()
    parents: tuple[int | None, ...] = ()
    calls: int = 0

    def __post_init__(self) -> None:
        winner = () if self.picked is None else (self.picked,)
        for number in (*winner, *self.vetoed, *self.reflections, *self.places):
            if not 0 <= number < self.after:
                raise ValueError(f"There are {self.after} pictures, and none has number {number}.")
        if self.picked in self.vetoed:
            raise ValueError("A picture cannot be the winner and be vetoed.")

    @property
    def changes_nothing(self) -> bool:
        """Whether no picture is picked, vetoed or given a reflection or place."""
        chosen = self.picked is not None or self.vetoed
        return not (chosen or self.reflections or self.places)

    def data(self) -> dict[str, Any]:
        """The feedback as JSON, without empty fields."""
        places = {
            str(number): {"boxes": [list(box) for box in place.boxes], "mask": _as_text(place.mask)}
            for number, place in self.places.items()
        }
        record: dict[str, Any] = {
            "after": self.after,
            "picked": self.picked,
            "vetoed": list(self.vetoed),
            "reflections": {str(number): text for number, text in self.reflections.items()},
            "places": places,
            "prompt": self.prompt,
            "planned": list(self.planned),
            "parents": list(self.parents),
            "calls": self.calls,
        }
        return {name: value for name, value in record.items() if value not in (None, [], {}, "")}

    @classmethod
    def from_data(cls, record: Any) -> Feedback:
        """What `data` wrote; raises ValueError for anything else."""
        try:
            return cls(
                after=_whole(record["after"]),
                picked=_whole(record["picked"]) if "picked" in record else None,
                vetoed=tuple(map(_whole, record.get("vetoed", ()))),
                reflections=_by_picture(record.get("reflections", {}), _text),
                places=_by_picture(record.get("places", {}), _place),
                prompt=_text(record.get("prompt", "")),
                planned=tuple(map(_text, record.get("planned", ()))),
                parents=tuple(
                    None if number is None else _whole(number)
                    for number in record.get("parents", ())
                ),
                calls=_whole(record.get("calls", 0)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is not a feedback record ({error!r:.80})") from error


def excluded(feedback: Iterable[Feedback]) -> set[int]:
    """The numbers of the excluded pictures: vetoed, or not picked when another one was."""
    out: set[int] = set()
    for said in feedback:
        if said.picked is not None:
            out = {*range(said.after)} - {said.picked}
        out.update(said.vetoed)
    return out


def _by_picture(record: Mapping[str, Any], read: Any) -> Mapping[int, Any]:
    return MappingProxyType({int(number): read(value) for number, value in record.items()})


def _place(record: Any) -> Place:
    boxes = tuple(tuple(map(_fraction, box)) for box in record.get("boxes", ()))
    if any(len(box) != 4 for box in boxes):
        raise ValueError("a box is not four numbers")
    return Place(boxes, _as_bytes(_text(record.get("mask", ""))))  # type: ignore[arg-type]


def _as_text(mask: bytes) -> str:
    return b64encode(mask).decode("ascii")


def _as_bytes(text: str) -> bytes:
    return b64decode(text, validate=True)  # raises ValueError


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r:.40} is not a whole number that is 0 or more")
    return value


def _fraction(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.40} is not a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not a text")
    return value
