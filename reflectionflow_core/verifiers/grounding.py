"""Asks a vision-language model where the faults are that it has found: one question a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from PIL.Image import Image
from pydantic import BaseModel, Field

from ..evidence import Evidence
from ..protocols import SILENT, Progress
from ..record import Verdict
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted

SCALE = 1000  # models are trained on coordinates from 0 to 1000, whatever the picture's size

_WHERE = """\
A judge found these faults in the picture:
{faults}
Say where in the picture each fault is, as
{{"places": [{{"fault": its number, "box": [left, top, right, bottom]}}]}}
with whole numbers from 0 to 1000 across the width and the height of the picture, 0 at the left and
at the top. For something that is missing, give the place where it should be. Leave out a fault that
is nowhere in particular."""

Edge = Annotated[float, Field(ge=0, le=SCALE)]


class FaultPlace(BaseModel):
    """Where a model sees a fault: its number from 1 on, and a box from 0 to 1000."""

    fault: Annotated[int, Field(ge=1)]
    box: tuple[Edge, Edge, Edge, Edge]


class FaultPlaces(BaseModel):
    places: Annotated[list[FaultPlace], Field(max_length=100)]


def grounded(
    vlm: Vlm, images: Sequence[Image], verdicts: Sequence[Verdict], progress: Progress = SILENT
) -> list[Verdict]:
    """The verdicts with the boxes of their faults, where the model gives them.

    Only pictures with faults are asked about. A model that fails leaves the verdict as it is: the
    places are no part of the judgement.
    """
    pairs = [(i, v) for i, v in zip(images, verdicts, strict=True) if v.unmet]
    questions = [_where(image, verdict) for image, verdict in pairs]
    found = ask(vlm, questions, FaultPlaces, progress, "verify")
    say_failures(found, progress, "Finding the places of faults", "these pictures have none")
    answers = iter(found)
    return [_placed(each, next(answers)) if each.unmet else each for each in verdicts]


def _where(image: Image, verdict: Verdict) -> Question:
    faults = "\n".join(f"{n}. {quoted(fault)}" for n, fault in enumerate(verdict.unmet, start=1))
    return Question(_WHERE.format(faults=faults), (image,), DATA_RULE, max_tokens=1024)


def _placed(verdict: Verdict, answer: FaultPlaces | Failure) -> Verdict:
    if isinstance(answer, Failure):
        return verdict
    places = tuple(
        Evidence.in_pixels(verdict.unmet[place.fault - 1], place.box, (SCALE, SCALE))
        for place in answer.places
        if place.fault <= len(verdict.unmet) and _has_area(place)
    )
    return replace(verdict, evidence=(*verdict.evidence, *dict.fromkeys(places)))


def _has_area(place: FaultPlace) -> bool:
    left, top, right, bottom = place.box
    return left < right and top < bottom
