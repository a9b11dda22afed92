"""One picture of a search on its way from request to candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..protocols import Preview
from ..record import Candidate, Cost, History, Inspection, Request, Restart, Verdict
from ..regions import region_of
from ..settings import SearchSettings
from .acceptance import broken_before, broken_by
from .trust import may_be_right

if TYPE_CHECKING:
    from PIL.Image import Image

NO_COST = Cost()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request on its way to a candidate, with its cost so far.

    While it has a `preview`, image and verdict are those of the preview. It is not `finished` if it
    is dropped then. `looks` are all verdicts on the picture, if the judge is asked again.
    """

    request: Request
    cost: Cost = NO_COST
    image: Image | None = None
    verdict: Verdict | None = None
    finished: bool = True
    inspection: Inspection | None = None
    preview: Preview | None = None
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
        return False  # a preview is never the result
    return may_be_right(attempt.verdict)


def stage_numbers(attempts: Sequence[Attempt]) -> list[int]:
    return [a.request.stage for a in attempts if a.request.stage is not None]


def promises_nothing(preview: Verdict | None, rival: Candidate) -> bool:
    """Whether a preview was judged and ranks no higher than its rival."""
    if preview is None or not preview.judged or preview.passed:
        return False
    return preview.rank <= rival.rank


def verdict_to_fix(request: Request) -> Verdict | None:
    """The verdict whose unmet requirements a request corrects."""
    verdict = request.parent.verdict if request.parent and request.corrects else None
    return verdict if verdict and verdict.unmet else None


def prepared(request: Request, prompt: str, settings: SearchSettings, past: History) -> Request:
    """A request with its prompt, as actors are asked about it; a correction also with its region,
    and with what earlier corrections of its parent, in the rounds of `past`, have broken."""
    request = replace(request, prompt=request.prompt or _own_prompt(request, prompt, settings))
    if not request.corrects:
        return request
    parent = request.required_parent
    # The next stage of a plan adds something that has no place in the picture yet.
    way = settings.correct if request.asks_writer else "whole"
    region = request.region or region_of(parent.verdict, way, settings.mask)
    broken = broken_before(parent, past) if settings.accept == "unbroken" else ()
    return replace(request, region=region if surrounding_picture(request) else None, broken=broken)


def _own_prompt(request: Request, prompt: str, settings: SearchSettings) -> str:
    """The prompt of a request if it is not rewritten."""
    if request.parent is None:
        return settings.draft_prompt or prompt
    return request.parent.prompt if isinstance(request.seed, Restart) else prompt


def surrounding_picture(request: Request) -> Candidate | None:
    """The picture that is kept outside a request's region: its parent. If the parent is only a
    preview and the request is not, the latest finished ancestor; None if there is none."""
    parent = request.required_parent
    if request.scout or parent.finished:
        return parent
    return next((each for each in reversed(parent.lineage) if each.finished), None)


def in_its_region(request: Request, painted: Image) -> Image:
    """The painted picture; if the request has a region, pasted there into what surrounds it."""
    if request.region is None:
        return painted
    from ..regions.compositing import composited

    around = surrounding_picture(request) or request.required_parent
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
