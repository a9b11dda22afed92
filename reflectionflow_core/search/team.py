"""The team asks the actors: requests get their texts, are painted and judged, and are charged.

Every question passes through `_ask`, which checks for cancellation and counts answers, seconds and
calls. Verifier, writer, evolver and inspector are always asked about the user's own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from types import MappingProxyType
from typing import Any, TypeVar

from PIL.Image import Image

from ..phases import PHASES
from ..protocols import Actors, Painter, Previewing, Progress, Rechecking, Remembering
from ..record import (
    Candidate,
    Cost,
    History,
    Inspection,
    Request,
    Restart,
    SearchSettings,
    Verdict,
)
from .budget import Estimating, any_counts, metered, split_evenly, steps_of

Answer = TypeVar("Answer")
Item = TypeVar("Item")
FREE = Cost()


class ActorError(RuntimeError):
    """An actor did not answer every item that it was asked."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are painted together, from position `start` of their round on.

    The history has the first `recorded` of them already. `whole_round` are all requests of the
    round, where nothing can cut it short; elsewhere it is empty.
    """

    round_index: int
    start: int
    recorded: int
    requests: list[Request]
    whole_round: list[Request]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request on its way to a candidate, with what it has cost so far.

    One that is not `finished` was dropped before it was painted: image and verdict are those of its
    preview.
    """

    request: Request
    cost: Cost = FREE
    image: Image | None = None
    verdict: Verdict | None = None
    finished: bool = True
    inspection: Inspection | None = None

    @property
    def picture(self) -> Image:
        assert self.image is not None  # it was painted or dropped
        return self.image

    def charged(self, cost: Cost, **changes: Any) -> Attempt:
        return replace(self, cost=self.cost + cost, **changes)


class Team:
    """The actors at work on one search, batch by batch."""

    def __init__(
        self,
        prompt: str,
        settings: SearchSettings,
        actors: Actors,
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        self.prompt, self.settings, self.actors = prompt, settings, actors
        self.progress, self.clock = progress, clock
        self._before, self._began = History(), 0.0
        self._written: tuple[int, list[Attempt]] = -1, []  # the texts of one whole round
        self._repeated = FREE

    def begin(self, before: History) -> None:
        """A batch begins; `before` is all that was judged before it."""
        self._before, self._began, self._repeated = before, self.clock(), FREE
        self._remember()

    def overhead(self, repeated: Sequence[tuple[Candidate, Cost]]) -> Cost:
        """What a batch costs besides its new candidates: its seconds at a stretch, and the calls
        that a crash made it repeat, if the actors count them.

        Other actors are charged as if the search had never been interrupted.
        """
        calls = sum((cost for _, cost in repeated), self._repeated).vlm_calls
        return Cost(
            vlm_calls=calls if any_counts(self.actors) else 0, slowest=self.clock() - self._began
        )

    def write(self, batch: Batch) -> list[Attempt]:
        """The requests of a batch with their texts: reflections, then prompts (§3.4).

        An endpoint answers many questions side by side. So the first batch of a round that cannot
        be cut short asks for the texts of the whole round.
        """
        if not batch.whole_round:
            return self._with_texts(batch.requests)
        index, attempts = self._written
        if index != batch.round_index:
            attempts = self._with_texts(batch.whole_round)
            self._written = batch.round_index, attempts
            self._repeated = sum((each.cost for each in attempts[: batch.start]), FREE)
        return attempts[batch.start : batch.start + len(batch.requests)]

    def paint(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """The attempts with their pictures; those of one phase go to their painter together."""
        groups = groupby(attempts, key=lambda a: (a.request.phase, a.request.speculative))
        return [painted for _, group in groups for painted in self._paint_group(list(group))]

    def judge(self, attempts: Sequence[Attempt]) -> list[tuple[Candidate, Cost]]:
        """A candidate for every attempt, in order, with all that it cost."""
        judged = in_place(attempts, lambda a: a.finished, self._verified)
        judged = in_place(judged, lambda a: a.request.stage is not None, self._inspected)
        return [(as_candidate(attempt), attempt.cost) for attempt in judged]

    def _with_texts(self, requests: Sequence[Request]) -> list[Attempt]:
        begun = [Attempt(replace(r, prompt=r.prompt or self._own_prompt(r))) for r in requests]
        reflected = in_place(begun, lambda a: a.request.asks_writer, self._reflected)
        return in_place(reflected, lambda a: a.request.evolves, self._evolved)

    def _own_prompt(self, request: Request) -> str:
        """What a request is painted from if nobody rewrites it."""
        if request.parent is None:
            return self.settings.draft_prompt or self.prompt
        return request.parent.prompt if isinstance(request.seed, Restart) else self.prompt

    def _reflected(self, attempts: list[Attempt]) -> list[Attempt]:
        writer = self.actors.writer
        assert writer is not None  # as for all actors below: the search has checked them
        question = partial(writer.reflect, self.prompt, requests_of(attempts), self.progress)
        return [
            attempt.charged(cost, request=replace(attempt.request, reflection=text))
            for attempt, text, cost in self._ask("reflect", attempts, question, writer)
        ]

    def _evolved(self, attempts: list[Attempt]) -> list[Attempt]:
        evolver = self.actors.evolver
        assert evolver is not None
        question = partial(evolver.evolve, self.prompt, requests_of(attempts), self.progress)
        return [
            attempt.charged(cost, request=replace(attempt.request, prompt=text))
            for attempt, text, cost in self._ask("evolve", attempts, question, evolver)
        ]

    def _paint_group(self, group: list[Attempt]) -> list[Attempt]:
        """Attempts of one phase, painted; of speculative ones those that promise something."""
        if group[0].request.speculative:
            group = self._previewed(group)
        return in_place(group, lambda a: a.finished, self._painted)

    def _painted(self, attempts: list[Attempt]) -> list[Attempt]:
        painter, phase = self._painter(attempts), attempts[0].request.phase
        question = partial(painter.paint, requests_of(attempts), self.progress)
        painted = []
        for attempt, image, cost in self._ask(phase, attempts, question):
            request = replace(attempt.request, speculative=False)  # its preview is paid already
            own = Cost(images=1, steps=steps_of(request, self.actors))
            painted.append(attempt.charged(cost + own, image=image))
        return painted

    def _painter(self, attempts: Sequence[Attempt]) -> Painter:
        corrects = attempts[0].request.corrects
        painter = self.actors.corrector if corrects else self.actors.generator
        assert painter is not None
        return painter

    def _previewed(self, attempts: list[Attempt]) -> list[Attempt]:
        """The attempts after a look at their previews: unfinished where the verifier finds that
        they would not improve on their parent, or else on the best picture so far.

        Nothing is previewed where there is nothing to improve on, or the painter cannot preview.
        """
        best = self._before.best if self._before.finished else None
        rivals = [attempt.request.parent or best for attempt in attempts]
        painter, phase = self._painter(attempts), attempts[0].request.phase
        if not all(rivals) or not isinstance(painter, Previewing):
            return attempts
        question = partial(painter.preview, requests_of(attempts), self.progress)
        previews = self._ask(phase, attempts, question)
        verdicts = iter(self._verify([look.image for _, look, _ in previews if look.converged]))
        self._remember()  # no picture is compared with a preview
        seen = []
        for (attempt, look, cost), rival in zip(previews, filter(None, rivals), strict=True):
            verdict, judging = next(verdicts) if look.converged else (None, FREE)
            spent = cost + judging + Cost(steps=painter.preview_steps)
            if verdict and not verdict.passed and verdict.score <= rival.score:
                seen.append(
                    attempt.charged(spent, image=look.image, verdict=verdict, finished=False)
                )
            else:
                seen.append(attempt.charged(spent))
        return seen

    def _verified(self, attempts: list[Attempt]) -> list[Attempt]:
        images = [attempt.picture for attempt in attempts]
        verdicts = self._verify(images, [corrected(attempt.request) for attempt in attempts])
        return [a.charged(cost, verdict=v) for a, (v, cost) in zip(attempts, verdicts, strict=True)]

    def _verify(
        self, images: Sequence[Image], before: Sequence[Verdict | None] = ()
    ) -> list[tuple[Verdict, Cost]]:
        """The verdict on each picture; of a correction, `before` may be its parent's."""
        verifier = self.actors.verifier
        question = partial(verifier.verify, self.prompt, images, self.progress)
        if before and self.settings.recheck and isinstance(verifier, Rechecking):
            question = partial(verifier.recheck, self.prompt, images, before, self.progress)
        return [
            (verdict, cost) for _, verdict, cost in self._ask("verify", images, question, verifier)
        ]

    def _inspected(self, attempts: list[Attempt]) -> list[Attempt]:
        inspector = self.actors.inspector
        assert inspector is not None
        stages = [self.settings.stages[attempt.request.stage or 0] for attempt in attempts]
        images = [attempt.picture for attempt in attempts]
        question = partial(inspector.inspect, self.prompt, stages, images, self.progress)
        return [
            attempt.charged(cost, inspection=inspection)
            for attempt, inspection, cost in self._ask("inspect", attempts, question, inspector)
        ]

    def _remember(self) -> None:
        if isinstance(self.actors.verifier, Remembering):
            self.actors.verifier.remember(self.prompt, self._before.finished)

    def _ask(
        self,
        phase: str,
        items: Sequence[Item],
        question: Callable[[], list[Answer]],
        actor: Estimating | None = None,
    ) -> list[tuple[Item, Answer, Cost]]:
        """Each item with the answer to it, and its share of the time and of the actor's calls."""
        if not items:
            return []
        self.progress.check()
        began = self.clock()
        answers, calls = metered(actor, len(items), question) if actor else (question(), 0)
        complete(answers, len(items), phase)
        seconds = MappingProxyType({phase: (self.clock() - began) / len(items)})
        costs = [Cost(vlm_calls=n, seconds=seconds) for n in split_evenly(calls, len(items))]
        return list(zip(items, answers, costs, strict=True))


def in_place(
    attempts: Sequence[Attempt],
    wanted: Callable[[Attempt], bool],
    change: Callable[[list[Attempt]], list[Attempt]],
) -> list[Attempt]:
    """The attempts in their order; those that are wanted are changed, all in one call."""
    chosen = [attempt for attempt in attempts if wanted(attempt)]
    changed = iter(change(chosen) if chosen else [])
    return [next(changed) if wanted(attempt) else attempt for attempt in attempts]


def complete(answers: list[Answer], items: int, phase: str) -> list[Answer]:
    """The answers, if there is one for each of the items that an actor was asked."""
    if len(answers) != items:
        raise ActorError(
            f"The {PHASES[phase].actor} was asked {items} items and answered {len(answers)}. "
            "An actor answers every item, in order, or raises."
        )
    return answers


def requests_of(attempts: Sequence[Attempt]) -> list[Request]:
    return [attempt.request for attempt in attempts]


def corrected(request: Request) -> Verdict | None:
    """The verdict whose unmet requirements a request corrects."""
    verdict = request.parent.verdict if request.parent and request.corrects else None
    return verdict if verdict and verdict.unmet else None


def as_candidate(attempt: Attempt) -> Candidate:
    request, verdict = attempt.request, attempt.verdict
    assert verdict is not None  # it was judged
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
    )
