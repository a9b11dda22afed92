"""Statements about pictures with known objects, about unchanged and about changed copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from PIL.Image import Image

from ..detection.pixel_colours import PixelColours
from ..detection.rules import Detection, overlap, relations
from ..evidence import Box
from ..judge_errors import COLOUR, NUMBER, POSITION, THING
from .changes import doubled, erased, grown, hue_turned, in_pixels, mirrored
from .items import CONTROL, PLANTED, TURNED, ExamItem, KnownPicture, KnownThing
from .wording import CHROMATIC, OPPOSITE, exactly, one, other_colours, placed

MOST = 9  # things of a name that are counted in words
LARGEST = 0.4  # of the picture, that is erased or doubled
TURNS = (1 / 3, 1 / 2, 2 / 3)  # of the circle of hues: no colour keeps its name
PLACES = 60  # tries to find a free place for a double
LEAST_CHANGE = 12.0  # of 255, the mean of a thing's pixels: less is no change


def known_items(known: KnownPicture, rng: np.random.Generator) -> list[ExamItem]:
    """All that can be asked about a picture with known objects.

    True statements are about an unchanged copy. False ones have one changed word, or are about a
    mirrored copy, shifted hues, or an object that was erased or doubled.
    """
    return [
        *_numbers(known, rng),
        *_colours(known, rng),
        *_positions(known),
        *_absent(known, rng),
    ]


def _item(
    known: KnownPicture,
    statement: str,
    kind: str,
    holds: bool,
    source: str,
    change: Callable[[Image], Image] | None = None,
    note: str = "",
) -> ExamItem:
    picture = known.picture if change is None else partial(changed, known.picture, change)
    file = known.file if change is None else None
    return ExamItem(picture, statement, holds, kind, source, note, known.group, file)


def changed(picture: Callable[[], Image], change: Callable[[Image], Image]) -> Image:
    """The picture after a change."""
    return change(picture())


def _numbers(known: KnownPicture, rng: np.random.Generator) -> Iterator[ExamItem]:
    for name in known.names:
        things = known.named(name)
        count = len(things)
        if count > MOST:
            continue
        said, kind = exactly(count, name), NUMBER
        yield _item(known, said, kind, True, CONTROL)
        wrong = count + (1 if count == 1 else int(rng.choice((-1, 1))))
        yield _item(known, exactly(wrong, name), kind, False, TURNED)
        if count == 1:
            yield _item(known, one(name), THING, True, CONTROL)
        yield from _without_one(known, things, rng)
        yield from _with_one_more(known, things, rng)


def _without_one(
    known: KnownPicture, things: Sequence[KnownThing], rng: np.random.Generator
) -> Iterator[ExamItem]:
    """Erases one object: of several, the number is then wrong; of one, it is missing."""
    free = [thing for thing in things if _can_be_erased(known, thing)]
    if not free:
        return
    thing = free[int(rng.integers(len(free)))]
    change, note = partial(erased, box=thing.box), f"one {thing.name} erased"
    if len(things) == 1:
        yield _item(known, one(thing.name), THING, False, PLANTED, change, note)
    else:
        said = exactly(len(things), thing.name)
        yield _item(known, said, NUMBER, False, PLANTED, change, note)


def _can_be_erased(known: KnownPicture, thing: KnownThing) -> bool:
    box = grown(thing.box)
    others = (other.box for other in known.things if other is not thing)
    return _area(box) <= LARGEST and not any(overlap(box, other) > 0 for other in others)


def _with_one_more(
    known: KnownPicture, things: Sequence[KnownThing], rng: np.random.Generator
) -> Iterator[ExamItem]:
    thing = things[int(rng.integers(len(things)))]
    place = _free_place(known, thing, rng)
    if place is None:
        return
    change = partial(doubled, box=thing.box, place=place)
    said = exactly(len(things), thing.name)
    yield _item(known, said, NUMBER, False, PLANTED, change, f"one {thing.name} doubled")


def _free_place(known: KnownPicture, thing: KnownThing, rng: np.random.Generator) -> Box | None:
    """A box of the thing's size that touches no known thing; None where none is found."""
    across, down = thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]
    if across * down > LARGEST or across >= 1 or down >= 1:
        return None
    taken = [grown(other.box) for other in known.things]
    for x, y in rng.random((PLACES, 2)):
        left, top = float(x) * (1 - across), float(y) * (1 - down)
        place = (left, top, min(1.0, left + across), min(1.0, top + down))
        if not any(overlap(place, other) > 0 for other in taken):
            return place
    return None


def _colours(known: KnownPicture, rng: np.random.Generator) -> Iterator[ExamItem]:
    for thing in known.single:
        if thing.colour not in CHROMATIC:
            continue
        said = one(thing.name, thing.colour)
        yield _item(known, said, COLOUR, True, CONTROL)
        other = str(rng.choice(other_colours(thing.colour)))
        yield _item(known, one(thing.name, other), COLOUR, False, TURNED)
        turn = float(rng.choice(TURNS))
        if _loses_its_colour(known.picture(), thing, turn):
            change = partial(hue_turned, turn=turn)
            yield _item(known, said, COLOUR, False, PLANTED, change, "hues turned")


def _loses_its_colour(image: Image, thing: KnownThing, turn: float) -> bool:
    """Whether the object has another colour afterwards; a grey one has not."""
    box = in_pixels(thing.box, image.size)
    after = hue_turned(image, turn)
    pixels = [np.asarray(each.convert("RGB").crop(box), np.float32) for each in (image, after)]
    there = Detection(thing.name, 1.0, _pixels(thing.box, image.size))
    (seen,) = PixelColours().colours(after, [there])
    return bool(np.abs(pixels[0] - pixels[1]).mean() >= LEAST_CHANGE) and seen != thing.colour


def _positions(known: KnownPicture) -> Iterator[ExamItem]:
    single = known.single
    size = known.picture().size if len(single) > 1 else (1, 1)
    boxes = {thing: _pixels(thing.box, size) for thing in single}
    for index, first in enumerate(single):
        for second in single[index + 1 :]:
            found = relations(boxes[first], boxes[second])
            if len(found) != 1:  # to the left and above at once is no clear case
                continue
            (relation,) = found
            said = placed(first.name, relation, second.name)
            yield _item(known, said, POSITION, True, CONTROL)
            turned = placed(first.name, OPPOSITE[relation], second.name)
            yield _item(known, turned, POSITION, False, TURNED)
            if relation in ("left of", "right of"):
                yield _item(known, said, POSITION, False, PLANTED, mirrored, "mirrored")


def _absent(known: KnownPicture, rng: np.random.Generator) -> Iterator[ExamItem]:
    if known.absent:
        name = str(rng.choice(known.absent))
        yield _item(known, one(name), THING, False, TURNED)


def _pixels(box: Box, size: tuple[int, int]) -> Box:
    left, top, right, bottom = in_pixels(box, size)
    return float(left), float(top), float(right), float(bottom)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
