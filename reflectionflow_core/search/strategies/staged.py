"""Drawing in stages (Zhang et al. 2026): sketch, inspect, refine, and on to the next stage.

The plan is among the settings, written before the search, and every picture has what an inspector
found. So a chain follows from its pictures, and plays again as it was.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from itertools import cycle, islice

from ...record import Candidate, History, Inspection, Request, Stage
from ...settings import SearchSettings
from .reflection import Rounds, choose_parents, drafts, new_noise

Chain = Generator[Request, Candidate, None]  # says what to paint next, and is sent the picture


def staged(settings: SearchSettings) -> Rounds:
    """Chains that draw stage by stage; each ends when its picture passes as a whole."""
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
    """Each stage and its one repair, as far as there is something to draw; then corrections."""
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
            break  # the stages that follow would draw what is there already
    while not frame.verdict.passed:
        evolves = "prompt" in settings.axes
        latest = yield Request(
            frame.seed, parent=frame, corrects=True, evolves=evolves, action="correct"
        )
        (frame,) = choose_parents(settings, [frame], [latest])


def following(
    frame: Candidate, instruction: str, action: str, stage: Stage, number: int
) -> Request:
    """The frame with one instruction carried out, so that it shows the stage's scene."""
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
    """The request with new noise, unless pictures keep theirs."""
    if "noise" not in settings.axes or request.parent is None:
        return request
    return replace(request, seed=new_noise(settings, past, position, request.parent))


def next_of(running: Chain, picture: Candidate) -> Request | None:
    """What a chain paints after a picture; None if it has ended."""
    try:
        return running.send(picture)
    except StopIteration:
        return None


def best_frames(settings: SearchSettings, past: History) -> list[Candidate]:
    """The first frame that each chain begins with; too few take turns."""
    ranked = sorted(past.rounds[0], key=rank, reverse=True)
    return list(islice(cycle(ranked), settings.width))


def rank(frame: Candidate) -> tuple[bool, bool, int, float]:
    """What makes one frame of a stage better than another; the score only where these are equal."""
    found = inspected(frame)
    faults = len(found.wrong) + len(found.missing)
    return bool(frame.verdict.passed), found.accepted, -faults, frame.rank


def inspected(frame: Candidate) -> Inspection:
    assert frame.inspection is not None  # the team has every picture of a stage inspected
    return frame.inspection
