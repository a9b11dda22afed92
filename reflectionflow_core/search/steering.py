"""Applies a person's feedback to the requests of a round.

Pure functions of the History, so a resumed search paints the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..feedback import Feedback, Place
from ..record import Candidate, History, Neighbour, Request, Seed
from ..regions import Region, region_of
from ..settings import SearchSettings
from .seeds import fresh_seed


def steered(requests: Sequence[Request], past: History, settings: SearchSettings) -> list[Request]:
    """The requests of the round after `past`, changed by the person's feedback.

    A request that would continue an excluded picture continues the best of the others, or is a new
    draft if none is left. Other corrections take the reflections that were planned for their
    pictures, whatever their places in the round are now.
    """
    if not past.feedback:
        return list(requests)
    said, numbers = latest(past), {id(c): i for i, c in enumerate(past)}
    planned = planned_by_picture(said[-1]) if said else {}
    steered_ones = []
    for position, request in enumerate(requests):
        moved = with_valid_parent(request, past, position, settings)
        number = numbers.get(id(moved.parent), -1)
        if moved is request and moved.asks_writer and planned.get(number):
            moved = as_planned(moved, planned[number].pop(0), settings)
        for one in said if moved.corrects else ():
            if words := one.reflections.get(number):
                moved = replace(moved, reflection=words, region=request.region)
            if place := one.places.get(number):
                moved = replace(moved, region=region_of_place(place))
        steered_ones.append(with_prompt(moved, past.feedback[-1].prompt))
    return steered_ones


def planned_by_picture(said: Feedback) -> dict[int, list[str]]:
    """The planned reflections of each picture that is corrected, in the order of the round."""
    texts: dict[int, list[str]] = {}
    for number, text in zip(said.parents, said.planned, strict=False):
        if number is not None:
            texts.setdefault(number, []).append(text)
    return texts


def as_planned(request: Request, reflection: str, settings: SearchSettings) -> Request:
    """The correction with its planned reflection, in the region that the writer was asked about.

    The writer may have had nothing to say: then it is not asked again.
    """
    verdict = request.required_parent.verdict
    region = request.region or region_of(verdict, settings.correct, settings.mask)
    return replace(request, reflection=reflection, region=region, unchanged=not reflection)


def latest(past: History) -> list[Feedback]:
    """The feedback since the last round of `past` began, in order."""
    begun = len(past) - len(past.rounds[-1]) if past.rounds else 0
    return [said for said in past.feedback if said.after > begun]


def with_valid_parent(
    request: Request, past: History, position: int, settings: SearchSettings
) -> Request:
    """The request with a parent that is not excluded, and with that parent's noise."""
    eligible, parent = past.eligible, request.parent
    if parent is None or any(parent is candidate for candidate in eligible):
        return request
    words = request.reflection if request.stage is not None else ""  # a stage's, not a picture's
    if not eligible:
        return replace(
            request,
            seed=fresh_seed(settings.seed, len(past.rounds), position),
            parent=None,
            reflection="",
            context=(),
            corrects=False,
            evolves=False,
            action="draft",
        )
    best = past.best
    seed = seed_for_parent(request.seed, parent, best)
    return replace(request, seed=seed, parent=best, reflection=words, context=())


def seed_for_parent(seed: Seed, before: Candidate, now: Candidate) -> Seed:
    """The seed; if it was the old parent's, or a neighbour of it, that of the new parent."""
    if seed == before.seed:
        return now.seed
    if isinstance(seed, Neighbour) and seed.pivot == before.seed:
        return replace(seed, pivot=now.seed)
    return seed


def region_of_place(place: Place) -> Region:
    """The region that a person drew."""
    if not place.mask:
        return Region(place.boxes, said=True)
    from ..pictures import stored_picture
    from ..regions.masks import mask_text

    return Region(place.boxes, mask_text(stored_picture(place.mask)), said=True)


def with_prompt(request: Request, prompt: str) -> Request:
    """The request with the person's prompt, if there is one; a stage keeps its scene."""
    if not prompt or request.stage is not None:
        return request
    return replace(request, prompt=prompt, evolves=False)
