"""Drawing in stages (Zhang et al. 2026): sketch, inspect, refine, then the next stage.

The plan is written before the search, as one of its settings, and every picture has an inspection.
So a chain can be replayed from its pictures.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from itertools import cycle, islice

from ...record import Candidate, History, Inspection, Request, Stage
from ...settings import SearchSettings
from .reflection import CORRECT, Rounds, choose_parents, drafts, new_noise

Chain = Generator[Request, Candidate, None]  # yields the next request, and is sent its picture


def staged(settings: SearchSettings) -> Rounds:
    """Chains that draw stage by stage; each ends when its whole picture passes."""
    past = yield [
        replace(request, prompt=settings.stages[0].scene, stage=0) for request in drafts(settings)
    ]
    chains = [chain(settings, frame) for frame in best_frames(settings, past)]
    requests = dict(enumerate(next(running, None) for running in chains))
    for _ in range(settings.depth):
        requests = {index: request for index, request in requests.items() if request is not None}
        past = yield [with_noise(settings, past, *each) for each in requests.items()]
        painted = zip(requests, past.rounds[-1], strict=True)
        requests = {index: next_of(chains[index], picture) for index, picture in painted}


def chain(settings: SearchSettings, frame: Candidate) -> Chain:
    """Draws each stage and repairs it once if needed; then corrects until the picture passes."""
    for number, stage in enumerate(settings.stages):
        if number and not frame.verdict.passed:
            drawn = yield following(frame, stage.instruction, "draw", stage, number)
            if drawn.broken:
                continue  # what this stage should add is left to the corrections
            frame = drawn
        if inspected(frame).refine and not frame.verdict.passed:
            instruction = inspected(frame).refine
            repaired = yield following(frame, instruction, "refine", stage, number)
            if not repaired.broken:
                frame = max(frame, repaired, key=rank)
        if inspected(frame).accepted and not inspected(frame).later:
            break  # later stages would draw what is already there
    while not frame.verdict.passed:
        evolves = "prompt" in settings.axes
        latest = yield Request(
            frame.seed, parent=frame, corrects=True, evolves=evolves, action=CORRECT
        )
        (frame,) = choose_parents(settings, [frame], [latest])


def following(
    frame: Candidate, instruction: str, action: str, stage: Stage, number: int
) -> Request:
    """The request to carry out one instruction, so that the frame shows the stage's scene."""
    return Request(
        frame.seed,
        parent=frame,
        corrects=True,
        action=action,
        prompt=stage.scene,
        reflection=instruction,
        stage=number,
    )


def with_noise(settings: SearchSettings, past: History, position: int, request: Request) -> Request:
    """The request with new noise, if the noise axis is on."""
    if "noise" not in settings.axes or request.parent is None:
        return request
    return replace(request, seed=new_noise(settings, past, position, request.parent))


def next_of(running: Chain, picture: Candidate) -> Request | None:
    """The next request of a chain after a picture; None if it has ended."""
    try:
        return running.send(picture)
    except StopIteration:
        return None


def best_frames(settings: SearchSettings, past: History) -> list[Candidate]:
    """The frame that each chain begins with; too few are repeated in turn."""
    ranked = sorted(past.rounds[0], key=rank, reverse=True)
    return list(islice(cycle(ranked), settings.width))


def rank(frame: Candidate) -> tuple[bool, bool, int, float]:
    """The sort key of frames of one stage; the score decides only between equals."""
    found = inspected(frame)
    faults = len(found.wrong) + len(found.missing)
    return bool(frame.verdict.passed), found.accepted, -faults, frame.rank


def inspected(frame: Candidate) -> Inspection:
    assert frame.inspection is not None  # the team inspects every picture of a stage
    return frame.inspection
