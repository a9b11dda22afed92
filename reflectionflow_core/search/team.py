"""The team asks the actors: it adds texts to requests, paints them, judges them and counts costs.

Every question passes through `_ask`, which checks for cancellation, counts answers, seconds and
calls, and keeps the calls within the budget. Verifier, writer, evolver and inspector are always
asked about the user's own prompt.
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
    NO_COST,
    Attempt,
    as_candidate,
    in_its_region,
    prepared,
    promises_nothing,
    requests_of,
    stage_numbers,
    verdict_to_fix,
    wants_another_look,
)
from .budget import Estimating, ask_within_budget, calls_by_phase, counts_calls, painting_steps
from .looking import look_again, most_looks
from .trust import trusted_verdict

Answer = TypeVar("Answer")


class ActorError(RuntimeError):
    """An actor did not return one answer per item."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are painted together, from position `start` of their round on.

    The first `recorded` of them are already in the history. `whole_round` has all affordable
    requests of the round if nothing can cut it short; otherwise it is empty.
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
        self._repeated = NO_COST
        self._asked: list[Request] = []  # all requests of the batch
        self._calls = 0  # spent so far

    def write(self, batch: Batch, before: History, spent: Cost) -> list[Attempt]:
        """The requests of a batch with their texts: reflections, then prompts (§3.4).

        `before` is the history before this batch, `spent` its cost. If nothing can cut the round
        short, its first batch asks for the texts of the whole round, since an endpoint answers
        many questions at once.
        """
        self._before, self._began, self._repeated = before, self.clock(), NO_COST
        self._rounds_before = History(before.rounds[: batch.round_index])
        self._asked, self._calls = batch.requests, spent.vlm_calls
        self._remember()
        if not batch.whole_round:
            return self._add_texts(batch.requests)
        index, attempts = self._written
        if index != batch.round_index:
            attempts = self._add_texts(batch.whole_round)
            self._written = batch.round_index, attempts
            self._repeated = sum((each.cost for each in attempts[: batch.start]), NO_COST)
        return attempts[batch.start : batch.start + len(batch.requests)]

    def paint(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """The attempts with their pictures; neighbours of the same phase are painted in one call.

        Speculative ones are painted only if their previews are promising, scouts never.
        """
        groups = groupby(
            attempts, key=lambda a: (a.request.phase, a.request.speculative, a.request.scout)
        )
        painted = []
        for group in (list(some) for _, some in groups):
            kept = self._drop_hopeless(group) if group[0].request.speculative else group
            kept = self._preview_scouts(kept) if group[0].request.scout else kept
            painted += replace_where(kept, lambda a: a.finished, self._paint_group)
        return painted

    def judge(self, attempts: Sequence[Attempt]) -> list[tuple[Candidate, Cost]]:
        """A candidate for every attempt, in order, with its whole cost."""
        judged = replace_where(attempts, lambda a: a.finished, self._verify)
        judged = replace_where(judged, lambda a: a.request.stage is not None, self._inspect)
        checks = self.settings.accept == "unbroken"
        return [(as_candidate(attempt, checks), attempt.cost) for attempt in judged]

    def batch_cost(self, repeated: Sequence[tuple[Candidate, Cost]]) -> Cost:
        """The cost of a batch besides that of its new candidates: its duration, in case it is the
        slowest, and the calls that it repeated after a crash.

        Actors that do not count their calls are charged as if there had been no crash.
        """
        calls = sum((cost.vlm_calls for _, cost in repeated), self._repeated.vlm_calls)
        counted = calls if counts_calls(self.actors) else 0
        return Cost(vlm_calls=counted, slowest=self.clock() - self._began)

    def _add_texts(self, requests: Sequence[Request]) -> list[Attempt]:
        who = (self.prompt, self.settings, self._rounds_before)
        attempts = [Attempt(prepared(request, *who)) for request in requests]
        reflected = replace_where(
            attempts, lambda a: a.request.asks_writer, self._write_reflections
        )
        return replace_where(reflected, lambda a: a.request.evolves, self._evolve_prompts)

    def _write_reflections(self, attempts: list[Attempt]) -> list[Attempt]:
        writer = self.actors.writer
        assert writer is not None  # check_actors has checked all actors
        question = partial(writer.reflect, self.prompt, requests_of(attempts), self.progress)
        kept = self._planned_calls("evolve", "verify", "inspect")
        return [
            attempt.charged(cost, request=replace(attempt.request, reflection=text))
            for attempt, text, cost in self._ask("reflect", attempts, question, writer, kept)
        ]

    def _evolve_prompts(self, attempts: list[Attempt]) -> list[Attempt]:
        evolver = self.actors.evolver
        assert evolver is not None
        question = partial(evolver.evolve, self.prompt, requests_of(attempts), self.progress)
        kept = self._planned_calls("verify", "inspect")
        return [
            attempt.charged(cost, request=replace(attempt.request, prompt=text))
            for attempt, text, cost in self._ask("evolve", attempts, question, evolver, kept)
        ]

    def _paint_group(self, attempts: list[Attempt]) -> list[Attempt]:
        first = attempts[0].request
        painter = self.actors.painter_of(first)
        question = partial(self._paint_pictures, painter, requests_of(attempts))
        painted = []
        for attempt, picture, cost in self._ask(first.phase, attempts, question):
            own = Cost(images=1, steps=painting_steps(attempt.request, self.actors))
            image = in_its_region(attempt.request, picture.image)
            # Latents of a picture that is only pasted into another one would not match the result.
            blended = attempt.request.region is None or attempt.request.corrects
            latents = picture.latents if blended else None
            painted.append(attempt.charged(cost + own, image=image, latents=latents))
        return painted

    def _paint_pictures(self, painter: Painter, requests: Sequence[Request]) -> list[Painted]:
        """The painter's pictures, with their latents if later corrections blend into them."""
        keeps = isinstance(self.actors.corrector, LatentKeeping)  # an editing model does not
        if self.settings.corrects_in_places and keeps and isinstance(painter, LatentKeeping):
            return painter.paint_with_latents(requests, self.progress)
        return [Painted(image) for image in painter.paint(requests, self.progress)]

    def _drop_hopeless(self, attempts: list[Attempt]) -> list[Attempt]:
        """The attempts; unfinished are those whose preview scores no better than their parent, or
        without a parent than the best picture so far.

        Nothing is previewed if there is no picture to compare with, or the painter cannot preview.
        """
        past, painter = self._before, self.actors.painter_of(attempts[0].request)
        rivals = [a.request.parent or (past.best if past.finished else None) for a in attempts]
        if not all(rivals) or not isinstance(painter, Previewing):
            return attempts
        previewed = self._preview(attempts, painter)
        judged = replace_where(previewed, lambda a: a.shows_converged, self._verify)
        self._remember()  # no picture is compared with a preview
        return [
            replace(attempt, finished=False)
            if promises_nothing(attempt.verdict, rival)
            else replace(attempt, preview=None, image=None, verdict=None, looks=())
            for attempt, rival in zip(judged, filter(None, rivals), strict=True)
        ]

    def _preview_scouts(self, attempts: list[Attempt]) -> list[Attempt]:
        """Scouts as judged previews, unfinished; unchanged if the painter cannot preview."""
        painter = self.actors.painter_of(attempts[0].request)
        if not isinstance(painter, Previewing):
            return attempts
        previewed = self._preview(attempts, painter)
        judged = self._verify([replace(each, preview=None, finished=False) for each in previewed])
        self._remember()  # no picture is compared with a preview
        return judged

    def _preview(self, attempts: list[Attempt], painter: Previewing) -> list[Attempt]:
        """The attempts with their previews, which are also their pictures so far."""
        question = partial(painter.preview, requests_of(attempts), self.progress)
        steps = Cost(steps=painter.preview_steps)
        return [
            attempt.charged(
                cost + steps, preview=preview, image=in_its_region(attempt.request, preview.image)
            )
            for attempt, preview, cost in self._ask(attempts[0].request.phase, attempts, question)
        ]

    def _verify(self, attempts: list[Attempt]) -> list[Attempt]:
        verifier, images = self.actors.verifier, [attempt.picture for attempt in attempts]
        question = partial(verifier.verify, self.prompt, images, self.progress)
        rechecks = self.settings.recheck and attempts[0].preview is None
        if rechecks and isinstance(verifier, Rechecking):
            before = [verdict_to_fix(attempt.request) for attempt in attempts]
            question = partial(verifier.recheck, self.prompt, images, before, self.progress)
        # A picture whose preview is promising is painted and judged as well.
        previews = sum(attempt.preview is not None for attempt in attempts)
        kept = self._planned_calls("inspect") + verifier.calls * previews
        judged = [
            attempt.charged(cost, verdict=verdict)
            for attempt, verdict, cost in self._ask("verify", attempts, question, verifier, kept)
        ]
        return judged if self.actors.errors is None else self._weigh_verdicts(judged)

    def _weigh_verdicts(self, attempts: list[Attempt]) -> list[Attempt]:
        """The attempts with the posteriors of their verdicts, by the judge's known error rates.

        The judge is asked again about pictures that may be right but are not trusted yet.
        """
        trusted = [self._with_look(attempt, attempt.verdict) for attempt in attempts]
        for look in range(1, most_looks(self.settings, self.actors) + 1):
            again = partial(self._look_again, look)
            trusted = replace_where(trusted, wants_another_look, again)
        return trusted

    def _look_again(self, look: int, attempts: list[Attempt]) -> list[Attempt]:
        verifier, images = self.actors.verifier, [attempt.picture for attempt in attempts]
        question = partial(look_again, verifier, self.prompt, images, look, self.progress)
        kept = self._planned_calls("inspect")
        return [
            self._with_look(attempt.charged(cost), verdict)
            for attempt, verdict, cost in self._ask("verify", attempts, question, verifier, kept)
        ]

    def _with_look(self, attempt: Attempt, verdict: Verdict | None) -> Attempt:
        """The attempt with one more verdict on its picture, and the posterior of all of them."""
        errors, past = self.actors.errors, self._before
        assert errors is not None and verdict is not None  # it was judged
        looks = (*attempt.looks, verdict)
        by_requirement = isinstance(self.actors.verifier, LookingAgain)
        verdict = trusted_verdict(
            looks, attempt.request, past, errors, self.settings.trust, by_requirement
        )
        return replace(attempt, verdict=verdict, looks=looks)

    def _inspect(self, attempts: list[Attempt]) -> list[Attempt]:
        inspector, images = self.actors.inspector, [attempt.picture for attempt in attempts]
        assert inspector is not None
        stages = [self.settings.stages[number] for number in stage_numbers(attempts)]
        question = partial(inspector.inspect, self.prompt, stages, images, self.progress)
        return [
            attempt.charged(cost, inspection=inspection)
            for attempt, inspection, cost in self._ask("inspect", attempts, question, inspector)
        ]

    def _planned_calls(self, *phases: str) -> int:
        """The most calls of the whole batch in these phases, as the actors estimate."""
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
        """Each attempt with its answer, and its share of the time and of the actor's calls.

        `kept` calls of the budget are reserved for later questions of this batch.
        """
        self.progress.check()
        began, items = self.clock(), len(attempts)
        if actor is None:
            answers, calls = question(), 0
        else:
            spent = self._calls + kept
            answers, calls = ask_within_budget(self.settings.budget, spent, actor, items, question)
        self._calls += calls
        complete(answers, items, phase)
        seconds = MappingProxyType({phase: (self.clock() - began) / items})
        each, rest = divmod(calls, items)  # the first attempts are charged the remainder
        costs = [Cost(vlm_calls=each + (i < rest), seconds=seconds) for i in range(items)]
        return list(zip(attempts, answers, costs, strict=True))


def replace_where(
    attempts: Sequence[Attempt],
    condition: Callable[[Attempt], bool],
    change: Callable[[list[Attempt]], list[Attempt]],
) -> list[Attempt]:
    """The attempts in their order; those that meet the condition are changed, all in one call."""
    chosen = [attempt for attempt in attempts if condition(attempt)]
    changed = iter(change(chosen) if chosen else [])
    return [next(changed) if condition(attempt) else attempt for attempt in attempts]


def complete(answers: list[Answer], items: int, phase: str) -> list[Answer]:
    """The answers; raises ActorError unless there is one for each item."""
    if len(answers) != items:
        raise ActorError(
            f"The {PHASES[phase].actor} was asked {items} items and answered {len(answers)}. "
            "An actor must answer every item, in order, or raise."
        )
    return answers
