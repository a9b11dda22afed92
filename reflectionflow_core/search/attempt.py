"""One picture of a search on its way from request to candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..protocols import Preview
from ..record import Candidate, Cost, History, Inspection, Request, Restart, Verdict
from ..regions import region_of
from ..settings import SearchSettings
from .acceptance import broken_by, told_broken
from .trust import is_open

if TYPE_CHECKING:
    from PIL.Image import Image

FREE = Cost()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request on its way to a candidate, with what it has cost so far.

    While it has a `preview`, image and verdict are those of the preview. One that is dropped after
    that is not `finished`.
    """

    request: Request
    cost: Cost = FREE
    image: Image | None = None
    verdict: Verdict | None = None
    finished: bool = True
    inspection: Inspection | None = None
    preview: Preview | None = None
    # All that the judge said of the picture, where it is asked again.
    looks: tuple[Verdict, ...] = ()
    latents: bytes | None = None

    @property
    def picture(self) -> Image:
        assert self.image is not None  # it was painted or dropped
        return self.image

    @property
    def shows_converged(self) -> bool:
        return self.preview is not None and self.preview.converged

    def charged(self, cost: Cost, **changes: Any) -> Attempt:
        return replace(self, cost=self.cost + cost, **changes)


def requests_of(attempts: Sequence[Attempt]) -> list[Request]:
    return [attempt.request for attempt in attempts]


def wants_another_look(attempt: Attempt) -> bool:
    if attempt.verdict is None or attempt.preview is not None or not attempt.finished:
        return False  # a preview is not what will be handed out
    return is_open(attempt.verdict)


def stage_numbers(attempts: Sequence[Attempt]) -> list[int]:
    return [a.request.stage for a in attempts if a.request.stage is not None]


def promises_nothing(preview: Verdict | None, rival: Candidate) -> bool:
    """True for a preview that was judged, and ranks no higher than its rival."""
    if preview is None or not preview.judged or preview.passed:
        return False
    return preview.rank <= rival.rank


def corrected(request: Request) -> Verdict | None:
    """The verdict whose unmet requirements a request corrects."""
    verdict = request.parent.verdict if request.parent and request.corrects else None
    return verdict if verdict and verdict.unmet else None


def begun(request: Request, prompt: str, settings: SearchSettings, past: History) -> Request:
    """A request with its own prompt, as actors are asked about it; a correction with its place, and
    with what corrections in the rounds of `past` broke."""
    request = replace(request, prompt=request.prompt or _own_prompt(request, prompt, settings))
    if not request.corrects:
        return request
    parent = request.required_parent
    # What a plan of stages draws next is nowhere yet.
    way = settings.correct if request.asks_writer else "whole"
    region = request.region or region_of(parent.verdict, way, settings.mask)
    told = told_broken(parent, past) if settings.accept == "unbroken" else ()
    return replace(request, region=region if kept_around(request) else None, broken=told)


def _own_prompt(request: Request, prompt: str, settings: SearchSettings) -> str:
    """What a request is painted from if its prompt is not rewritten."""
    if request.parent is None:
        return settings.draft_prompt or prompt
    return request.parent.prompt if isinstance(request.seed, Restart) else prompt


def kept_around(request: Request) -> Candidate | None:
    """The picture that stays outside of a request's region: the parent; of a picture that is
    painted to its end no preview, but the last before it that was painted so, if there is one."""
    parent = request.required_parent
    if request.scout or parent.finished:
        return parent
    return next((each for each in reversed(parent.lineage) if each.finished), None)


def in_its_region(request: Request, painted: Image) -> Image:
    """What was painted, put into what stays around it where the request has a region."""
    if request.region is None:
        return painted
    from ..regions.compositing import composited

    around = kept_around(request) or request.required_parent
    return composited(around.image, painted, request.region)


def as_candidate(attempt: Attempt, checks_broken: bool = False) -> Candidate:
    request, verdict = attempt.request, attempt.verdict
    assert verdict is not None  # it was judged
    looked_at = attempt.finished or request.scout
    checked = checks_broken and request.phase != "draft" and looked_at
    parent = request.parent if checked else None
    return Candidate(
        attempt.picture,
        request.prompt,
        request.seed,
        verdict,
        request.reflection,
        request.parent,
        request.action,
        attempt.cost.steps,
        attempt.finished,
        request.stage,
        attempt.inspection,
        request.region,
        broken_by(parent.verdict, verdict) if parent else (),
        attempt.latents,
    )
