"""A person's feedback in the requests of a round: what is continued, by which words.

A pure function of the History, so a search that resumes paints the same again.
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
    """The requests of the round after `past` as a person wants them; as they are without feedback.

    What would continue an excluded picture continues the best of the others, or begins anew where
    none is left. Reflections that were planned for a request are used where it was not redirected.
    """
    if not past.feedback:
        return list(requests)
    said, numbers = latest(past), {id(c): i for i, c in enumerate(past)}
    planned = said[-1].planned if said else ()
    steered_ones = []
    for position, request in enumerate(requests):
        moved = redirected(request, past, position, settings)
        if moved is request and moved.asks_writer and position < len(planned):
            moved = as_planned(moved, planned[position], settings)
        for one in said if moved.corrects else ():
            number = numbers.get(id(moved.parent), -1)
            if words := one.reflections.get(number):
                moved = replace(moved, reflection=words, region=request.region)
            if place := one.places.get(number):
                moved = replace(moved, region=region_said(place))
        steered_ones.append(reworded(moved, past.feedback[-1].prompt))
    return steered_ones


def as_planned(request: Request, reflection: str, settings: SearchSettings) -> Request:
    """The correction as its writer planned it, in the place that the writer was asked about."""
    if not reflection:
        return request
    verdict = request.required_parent.verdict
    region = request.region or region_of(verdict, settings.correct, settings.mask)
    return replace(request, reflection=reflection, region=region)


def latest(past: History) -> list[Feedback]:
    """What was said since the last round of `past` began, the last of it at the end."""
    begun = len(past) - len(past.rounds[-1]) if past.rounds else 0
    return [said for said in past.feedback if said.after > begun]


def redirected(request: Request, past: History, position: int, settings: SearchSettings) -> Request:
    """The request with a parent that is not excluded, and with the noise and words of that one."""
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
    seed = moved_seed(request.seed, parent, best)
    return replace(request, seed=seed, parent=best, reflection=words, context=())


def moved_seed(seed: Seed, before: Candidate, now: Candidate) -> Seed:
    """The seed, or that of the new parent where the old one's was kept or looked around."""
    if seed == before.seed:
        return now.seed
    if isinstance(seed, Neighbour) and seed.pivot == before.seed:
        return replace(seed, pivot=now.seed)
    return seed


def region_said(place: Place) -> Region:
    """Where a correction may change its parent, as a person drew it."""
    if not place.mask:
        return Region(place.boxes, said=True)
    from ..pictures import stored_picture
    from ..regions.masks import mask_text

    return Region(place.boxes, mask_text(stored_picture(place.mask)), said=True)


def reworded(request: Request, prompt: str) -> Request:
    """The request with a person's prompt, if there is one; a stage keeps its own scene."""
    if not prompt or request.stage is not None:
        return request
    return replace(request, prompt=prompt, evolves=False)
