"""Asks a vision-language model where the faults are that it has found: one question per picture."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from PIL.Image import Image
from pydantic import AliasChoices, BaseModel, Field, model_validator

from ..evidence import Evidence
from ..pictures import to_rgb
from ..protocols import SILENT, Progress
from ..record import Verdict
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, NamedVlm, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted

SCALE = 1000  # most models are trained on coordinates from 0 to 1000, whatever the picture's size
IN_PIXELS = re.compile(r"qwen-?2[._]5-?_?vl", re.IGNORECASE)  # these on pixels, as they see them
PATCH, MOST_PIXELS = 28, 756 * 756  # of a picture that such a model sees as it is sent

_WHERE = """\
A judge found these faults in the picture:
{faults}
Say where in the picture each fault is, as
{{"places": [{{"fault": its number, "box": [left, top, right, bottom]}}]}}
{numbers}, 0 at the left and at the top. For something that is missing, give the place where it
should be. Leave out a fault that is nowhere in particular."""
_RELATIVE = "with whole numbers from 0 to 1000 across the width and the height of the picture"
_PIXELS = "in whole pixels of the picture, which is {width} wide and {height} high"

Edge = Annotated[float, Field(ge=0, le=100_000)]


class FaultPlace(BaseModel):
    """Where a model sees a fault: its number from 1 on, and a box from 0 to 1000, or in pixels."""

    fault: Annotated[int, Field(ge=1)]
    box: tuple[Edge, Edge, Edge, Edge] = Field(
        validation_alias=AliasChoices("box", "bbox", "bbox_2d")
    )

    @model_validator(mode="before")
    @classmethod
    def _upper_edge_first(cls, given: Any) -> Any:
        """Google's models always write boxes as `box_2d`: top, left, bottom, right."""
        match given:
            case {"box_2d": [top, left, bottom, right], **rest} if "box" not in rest:
                return {**rest, "box": [left, top, right, bottom]}
        return given


class FaultPlaces(BaseModel):
    places: Annotated[list[FaultPlace], Field(max_length=100)]


def grounded(
    vlm: Vlm, images: Sequence[Image], verdicts: Sequence[Verdict], progress: Progress = SILENT
) -> list[Verdict]:
    """The verdicts with the boxes of their faults, if the model gives them.

    Only pictures with faults are asked about. If the model fails, the verdict is unchanged.
    """
    in_pixels = isinstance(vlm, NamedVlm) and IN_PIXELS.search(vlm.model_name) is not None
    wrong = [(i, v) for i, v in zip(images, verdicts, strict=True) if v.unmet]
    shown = [as_seen(image) if in_pixels else image for image, _ in wrong]
    questions = [
        _where(image, verdict, in_pixels) for image, (_, verdict) in zip(shown, wrong, strict=True)
    ]
    found = ask(vlm, questions, FaultPlaces, progress, "verify")
    say_failures(found, progress, "Finding the places of faults", "these pictures have none")
    answers = iter(zip(found, shown, strict=True))
    return [_placed(each, *next(answers), in_pixels) if each.unmet else each for each in verdicts]


def as_seen(image: Image) -> Image:
    """The picture at a size that a model with pixel coordinates does not resize."""
    shrink = min(1.0, math.sqrt(MOST_PIXELS / (image.width * image.height)))
    sides = (max(1, int(side * shrink / PATCH)) * PATCH for side in image.size)
    return to_rgb(image).resize((next(sides), next(sides)))


def _where(image: Image, verdict: Verdict, in_pixels: bool) -> Question:
    faults = "\n".join(f"{n}. {quoted(fault)}" for n, fault in enumerate(verdict.unmet, start=1))
    pixels = _PIXELS.format(width=image.width, height=image.height)
    text = _WHERE.format(faults=faults, numbers=pixels if in_pixels else _RELATIVE)
    return Question(text, (image,), DATA_RULE, max_tokens=1024)


def _placed(
    verdict: Verdict, answer: FaultPlaces | Failure, image: Image, in_pixels: bool
) -> Verdict:
    if isinstance(answer, Failure):
        return verdict
    scale, unit = scale_of(answer, image.size, in_pixels), 1
    if scale == (1, 1):
        scale, unit = (SCALE, SCALE), SCALE
    places = tuple(
        Evidence.in_pixels(verdict.unmet[place.fault - 1], [unit * e for e in place.box], scale)
        for place in answer.places
        if scale and place.fault <= len(verdict.unmet) and _has_area(place)
    )
    return replace(verdict, evidence=(*verdict.evidence, *dict.fromkeys(places)))


def scale_of(answer: FaultPlaces, size: tuple[int, int], in_pixels: bool) -> tuple[int, int] | None:
    """The unit of the boxes in an answer: pixels of `size`, thousandths or fractions; None if none
    fits.

    A model uses one of them, whichever was requested, so the other is tried if the numbers do not
    fit. Boxes within 0 to 1 are fractions: a box of one pixel makes no sense.
    """
    ways = [size, (SCALE, SCALE)] if in_pixels else [(SCALE, SCALE), size]
    if all(edge <= 1 for place in answer.places for edge in place.box):
        return 1, 1
    right = max((place.box[2] for place in answer.places), default=0)
    bottom = max((place.box[3] for place in answer.places), default=0)
    return next((way for way in ways if right <= way[0] and bottom <= way[1]), None)


def _has_area(place: FaultPlace) -> bool:
    left, top, right, bottom = place.box
    return left < right and top < bottom
