"""Pictures in which a detector finds objects so clearly that its boxes are taken as the truth.

If the detector is sure but wrong, its error counts as the judge's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from PIL.Image import Image, Resampling

from ..detection.pixel_colours import UNSURE, PixelColours
from ..detection.rules import Detection, DetectionLimits, overlap
from ..evidence import Evidence
from ..miniature.detector import BLOB, detect_boxes
from ..miniature.settings import SIZE
from ..miniature.world import SHAPES
from ..protocols import SILENT, Progress
from ..record import InputError
from .items import KnownPicture, KnownThing

if TYPE_CHECKING:
    from ..detection.detectors import Detector

SURE = 1.5  # times a detector's own limit; a score above it is taken for the truth
MOST_SURE = 0.9  # no higher score is asked for
UNCLEAR = 0.5  # times the limit; a name with a score between both is not asked about
SAME = 0.5  # intersection over union from which two boxes may be one thing
SMALLEST, LARGEST = 0.01, 0.6  # of the picture, that a thing takes
SCALE = 7  # the miniature's pictures are enlarged, since models see little in 64 pixels


def known_by_detector(
    detector: Detector,
    pictures: Sequence[KnownPicture],
    names: Sequence[str] = (),
    progress: Progress = SILENT,
) -> list[KnownPicture]:
    """The pictures in which at least one of `names` is clear; () means all names that it knows.

    Raises InputError for an open-vocabulary detector without names.
    """
    asked = tuple(names) or tuple(detector.vocabulary or ())
    if not asked:
        raise InputError(
            "This detector finds whatever it is asked for. Say what is in the pictures, as in "
            "--things cup,dog,chair."
        )
    found = []
    for known in pictures:
        progress.check()
        image = known.picture()
        (seen,) = detector.detect([image], asked, progress)
        found.append((known, *_clear(seen, image, detector)))
    there = {thing.name for _, things, _ in found for thing in things}
    return [
        replace(known, things=things, absent=_plausible(asked, seen, there))
        for known, things, seen in found
        if things
    ]


def _clear(
    seen: Sequence[Detection], image: Image, detector: Detector
) -> tuple[tuple[KnownThing, ...], set[str]]:
    """All things of the names that are clear, and the names of which anything was seen."""
    limits = detector.limits
    sure = min(MOST_SURE, SURE * limits.counting)
    counting = _once([t for t in seen if t.score >= UNCLEAR * limits.confidence], limits)
    unclear = {
        thing.name
        for thing in counting
        if thing.score < sure
        or not SMALLEST <= _share(thing, image) <= LARGEST
        or any(o is not thing and overlap(thing.box, o.box) >= SAME for o in counting)
    }
    clear = [thing for thing in counting if thing.name not in unclear]
    colours = PixelColours().colours(image, clear)
    known = (_known(thing, image, c) for thing, c in zip(clear, colours, strict=True))
    return tuple(known), {thing.name for thing in counting}


def _once(seen: Sequence[Detection], limits: DetectionLimits) -> list[Detection]:
    """Each object by its surest box, as in GenEval's rules: some detectors give many boxes."""
    kept: list[Detection] = []
    for thing in sorted(seen, key=lambda thing: -thing.score):
        alike = [other for other in kept if other.name == thing.name]
        if limits.max_overlap == 1 or not any(
            overlap(thing.box, other.box) >= limits.max_overlap for other in alike
        ):
            kept.append(thing)
    return kept


def _known(thing: Detection, image: Image, colour: str) -> KnownThing:
    box = Evidence.in_pixels("", thing.box, image.size).box
    assert box is not None
    return KnownThing(thing.name, box, "" if colour == UNSURE else colour)


def _share(thing: Detection, image: Image) -> float:
    left, top, right, bottom = thing.box
    return (right - left) * (bottom - top) / (image.width * image.height)


def _plausible(asked: Sequence[str], seen: set[str], there: set[str]) -> tuple[str, ...]:
    """Names of which nothing was seen: of things in other pictures, if there are any."""
    absent = [name for name in asked if name not in seen]
    near = [name for name in absent if name in there]
    return tuple(near or absent)


def known_shapes(name: str, image: Image) -> KnownPicture | None:
    """A picture of the miniature, enlarged, as its own exact reader sees it; None if not clear."""
    boxes = detect_boxes(image)
    if not boxes or any(BLOB in (thing.shape, thing.colour) for thing in boxes):
        return None
    large = image.convert("RGB").resize((SIZE * SCALE, SIZE * SCALE), Resampling.NEAREST)
    things = []
    for thing, box in boxes.items():
        place = Evidence.in_pixels("", box, (SIZE, SIZE)).box
        assert place is not None
        things.append(KnownThing(thing.shape, place, thing.colour))
    absent = tuple(shape for shape in SHAPES if shape not in {thing.name for thing in things})
    return KnownPicture(large.copy, tuple(things), absent, name)
