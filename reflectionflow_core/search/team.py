"""The team asks the actors: requests get their texts, are painted and judged, and are charged.

Every question passes through `_ask`, which checks for cancellation, counts answers, seconds and
calls, and lets no more calls be made than the budget has left. Verifier, writer, evolver and
inspector are always asked about the user's own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from types import MappingProxyType
from typing import TypeVar

from ..phases import PHASES
from ..protocols import (
    Actors,
    LatentKeeping,
    LookingAgain,
    Painted,
    Painter,
    Previewing,
    Progress,
    Rechecking,
    Remembering,
)
from ..record import Candidate, Cost, History, Request, Verdict
from ..settings import SearchSettings
from .attempt import (
    FREE,
    Attempt,
    as_candidate,
    begun,
    corrected,
    in_its_region,
    promises_nothing,
    requests_of,
    stage_numbers,
    wants_another_look,
)
from .budget import Estimating, calls_by_phase, counts_calls, paid_from, painting_steps
from .looking import look_again, most_looks
from .trust import believed

Answer = TypeVar("Answer")


class ActorError(RuntimeError):
    """An actor did not answer every item that it was asked."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are painted together, from position `start` of their round on.

    The history has the first `recorded` of them already. `whole_round` are all requests of the
    round that the budget pays for, if nothing else can cut it short; otherwise it is empty.
    """

    round_index: int
    start: int
    recorded: int
    requests: list[Request]
    whole_round: list[Request]


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
        self._before, self._rounds_before, self._began = History(), History(), 0.0
        self._written: tuple[int, list[Attempt]] = -1, []  # the texts of one whole round
        self._repeated = FREE
        self._asked: list[Request] = []  # all requests of the batch
        self._calls = 0  # spent so far

    def write(self, batch: Batch, before: History, spent: Cost) -> list[Attempt]:
        """The requests of a batch with their texts: reflections, then prompts (§3.4).

        `before` is all that was judged before this batch, `spent` what that cost. An endpoint
        answers many questions side by side, so the first batch of a round that nothing can cut
        short asks for the texts of the whole round.
        """
        self._before, self._began, self._repeated = before, self.clock(), FREE
        self._rounds_before = History(before.rounds[: batch.round_index])
        self._asked, self._calls = batch.requests, spent.vlm_calls
        self._remember()
        if not batch.whole_round:
            return self._with_texts(batch.requests)
        index, attempts = self._written
        if index != batch.round_index:
            attempts = self._with_texts(batch.whole_round)
            self._written = batch.round_index, attempts
            self._repeated = sum((each.cost for each in attempts[: batch.start]), FREE)
        return attempts[batch.start : batch.start + len(batch.requests)]

    def paint(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """The attempts with their pictures; those of one phase go to their painter together.

        Speculative ones are painted only if their previews promise something, scouts never.
        """
        groups = groupby(
            attempts, key=lambda a: (a.request.phase, a.request.speculative, a.request.scout)
        )
        painted = []
        for group in (list(some) for _, some in groups):
            kept = self._previewed(group) if group[0].request.speculative else group
            kept = self._scouted(kept) if group[0].request.scout else kept
            painted += in_place(kept, lambda a: a.finished, self._painted)
        return painted

    def judge(self, attempts: Sequence[Attempt]) -> list[tuple[Candidate, Cost]]:
        """A candidate for every attempt, in order, with all that it cost."""
        judged = in_place(attempts, lambda a: a.finished, self._verified)
        judged = in_place(judged, lambda a: a.request.stage is not None, self._inspected)
        checks = self.settings.accept == "unbroken"
        return [(as_candidate(attempt, checks), attempt.cost) for attempt in judged]

    def batch_cost(self, repeated: Sequence[tuple[Candidate, Cost]]) -> Cost:
        """What a batch adds to the costs of its new candidates: how long it took, for the slowest
        batch, and the calls that a crash made it repeat.

        Actors that do not count are charged as if the search had never been interrupted.
        """
        calls = sum((cost.vlm_calls for _, cost in repeated), self._repeated.vlm_calls)
        counted = calls if counts_calls(self.actors) else 0
        return Cost(vlm_calls=counted, slowest=self.clock() - self._began)

    def _with_texts(self, requests: Sequence[Request]) -> list[Attempt]:
        who = (self.prompt, self.settings, self._rounds_before)
        attempts = [Attempt(begun(request, *who)) for request in requests]
        reflected = in_place(attempts, lambda a: a.request.asks_writer, self._reflected)
        return in_place(reflected, lambda a: a.request.evolves, self._evolved)

    def _reflected(self, attempts: list[Attempt]) -> list[Attempt]:
        writer = self.actors.writer
        assert writer is not None  # as for all actors below: the search has checked them
        question = partial(writer.reflect, self.prompt, requests_of(attempts), self.progress)
        kept = self._planned("evolve", "verify", "inspect")
        return [
            attempt.charged(cost, request=replace(attempt.request, reflection=text))
            for attempt, text, cost in self._ask("reflect", attempts, question, writer, kept)
        ]

    def _evolved(self, attempts: list[Attempt]) -> list[Attempt]:
        evolver = self.actors.evolver
        assert evolver is not None
        question = partial(evolver.evolve, self.prompt, requests_of(attempts), self.progress)
        kept = self._planned("verify", "inspect")
        return [
            attempt.charged(cost, request=replace(attempt.request, prompt=text))
            for attempt, text, cost in self._ask("evolve", attempts, question, evolver, kept)
        ]

    def _painted(self, attempts: list[Attempt]) -> list[Attempt]:
        first = attempts[0].request
        painter = self.actors.painter_of(first)
        question = partial(self._pictures, painter, requests_of(attempts))
        painted = []
        for attempt, picture, cost in self._ask(first.phase, attempts, question):
            own = Cost(images=1, steps=painting_steps(attempt.request, self.actors))
            image = in_its_region(attempt.request, picture.image)
            # Of what was put into another picture afterwards they would show something else.
            blended = attempt.request.region is None or attempt.request.corrects
            latents = picture.latents if blended else None
            painted.append(attempt.charged(cost + own, image=image, latents=latents))
        return painted

    def _pictures(self, painter: Painter, requests: Sequence[Request]) -> list[Painted]:
        """What a painter paints; with its latents where later corrections are blended into them."""
        if self.settings.corrects_in_places and isinstance(painter, LatentKeeping):
            return painter.paint_with_latents(requests, self.progress)
        return [Painted(image) for image in painter.paint(requests, self.progress)]

    def _previewed(self, attempts: list[Attempt]) -> list[Attempt]:
        """The attempts after a look at their previews: unfinished where the verifier finds that
        they would not improve on their parent, or else on the best picture so far.

        Nothing is previewed where there is nothing to improve on, or the painter cannot preview.
        """
        first, past = attempts[0].request, self._before
        painter = self.actors.painter_of(first)
        rivals = [a.request.parent or (past.best if past.finished else None) for a in attempts]
        if not all(rivals) or not isinstance(painter, Previewing):
            return attempts
        question = partial(painter.preview, requests_of(attempts), self.progress)
        previews = self._ask(first.phase, attempts, question)
        steps = Cost(steps=painter.preview_steps)
        looks = [
            attempt.charged(
                cost + steps, preview=preview, image=in_its_region(attempt.request, preview.image)
            )
            for attempt, preview, cost in previews
        ]
        judged = in_place(looks, lambda a: a.shows_converged, self._verified)
        self._remember()  # no picture is compared with a preview
        return [
            replace(attempt, finished=False)
            if promises_nothing(attempt.verdict, rival)
            else replace(attempt, preview=None, image=None, verdict=None, looks=())
            for attempt, rival in zip(judged, filter(None, rivals), strict=True)
        ]

    def _scouted(self, attempts: list[Attempt]) -> list[Attempt]:
        """Scouts with their previews and verdicts, unfinished; as they are if none can preview."""
        first = attempts[0].request
        painter = self.actors.painter_of(first)
        if not isinstance(painter, Previewing):
            return attempts
        question = partial(painter.preview, requests_of(attempts), self.progress)
        steps = Cost(steps=painter.preview_steps)
        looks = [
            attempt.charged(
                cost + steps, image=in_its_region(attempt.request, preview.image), finished=False
            )
            for attempt, preview, cost in self._ask(first.phase, attempts, question)
        ]
        judged = self._verified(looks)
        self._remember()  # no picture is compared with a preview
        return judged

    def _verified(self, attempts: list[Attempt]) -> list[Attempt]:
        verifier, images = self.actors.verifier, [attempt.picture for attempt in attempts]
        question = partial(verifier.verify, self.prompt, images, self.progress)
        rechecks = self.settings.recheck and attempts[0].preview is None
        if rechecks and isinstance(verifier, Rechecking):
            before = [corrected(attempt.request) for attempt in attempts]
            question = partial(verifier.recheck, self.prompt, images, before, self.progress)
        # What a preview promises is painted, and judged as well.
        previews = sum(attempt.preview is not None for attempt in attempts)
        kept = self._planned("inspect") + verifier.calls * previews
        judged = [
            attempt.charged(cost, verdict=verdict)
            for attempt, verdict, cost in self._ask("verify", attempts, question, verifier, kept)
        ]
        return judged if self.actors.errors is None else self._trusted(judged)

    def _trusted(self, attempts: list[Attempt]) -> list[Attempt]:
        """The attempts with how far the verdicts of a judge with known errors are believed.

        It is asked again about those that may be right, until they are believed enough.
        """
        trusted = [self._believed(attempt, attempt.verdict) for attempt in attempts]
        for look in range(1, most_looks(self.settings, self.actors) + 1):
            again = partial(self._looked_again, look)
            trusted = in_place(trusted, wants_another_look, again)
        return trusted

    def _looked_again(self, look: int, attempts: list[Attempt]) -> list[Attempt]:
        verifier, images = self.actors.verifier, [attempt.picture for attempt in attempts]
        question = partial(look_again, verifier, self.prompt, images, look, self.progress)
        kept = self._planned("inspect")
        return [
            self._believed(attempt.charged(cost), verdict)
            for attempt, verdict, cost in self._ask("verify", attempts, question, verifier, kept)
        ]

    def _believed(self, attempt: Attempt, verdict: Verdict | None) -> Attempt:
        """The attempt with one more look at its picture, and what all of them are worth."""
        errors, past = self.actors.errors, self._before
        assert errors is not None and verdict is not None  # it was judged
        looks = (*attempt.looks, verdict)
        by_requirement = isinstance(self.actors.verifier, LookingAgain)
        verdict = believed(
            looks, attempt.request, past, errors, self.settings.trust, by_requirement
        )
        return replace(attempt, verdict=verdict, looks=looks)

    def _inspected(self, attempts: list[Attempt]) -> list[Attempt]:
        inspector, images = self.actors.inspector, [attempt.picture for attempt in attempts]
        assert inspector is not None
        stages = [self.settings.stages[number] for number in stage_numbers(attempts)]
        question = partial(inspector.inspect, self.prompt, stages, images, self.progress)
        return [
            attempt.charged(cost, inspection=inspection)
            for attempt, inspection, cost in self._ask("inspect", attempts, question, inspector)
        ]

    def _planned(self, *phases: str) -> int:
        """The most calls of the whole batch in some phases, as the actors estimate."""
        each = (calls_by_phase(one, self.actors, self.settings) for one in self._asked)
        return sum(calls.get(phase, 0) for calls in each for phase in phases)

    def _remember(self) -> None:
        if isinstance(self.actors.verifier, Remembering):
            self.actors.verifier.remember(self.prompt, self._before.finished)

    def _ask(
        self,
        phase: str,
        attempts: Sequence[Attempt],
        question: Callable[[], list[Answer]],
        actor: Estimating | None = None,
        kept: int = 0,
    ) -> list[tuple[Attempt, Answer, Cost]]:
        """Each attempt, the answer to it, and its share of the time and of the actor's calls.

        So many calls of the budget are `kept` for what is asked later in this batch.
        """
        self.progress.check()
        began, items = self.clock(), len(attempts)
        if actor is None:
            answers, calls = question(), 0
        else:
            spent = self._calls + kept
            answers, calls = paid_from(self.settings.budget, spent, actor, items, question)
        self._calls += calls
        complete(answers, items, phase)
        seconds = MappingProxyType({phase: (self.clock() - began) / items})
        each, rest = divmod(calls, items)  # the first ones take what does not divide
        costs = [Cost(vlm_calls=each + (i < rest), seconds=seconds) for i in range(items)]
        return list(zip(attempts, answers, costs, strict=True))


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
