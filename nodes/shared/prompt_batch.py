"""Many prompts with one budget: runs their searches in ComfyUI and keeps them between runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from comfy.model_management import InterruptProcessingException

from ...reflectionflow_core.record import SHARED, History, InputError
from ...reflectionflow_core.search import (
    UnjudgedError,
    check_search,
    portfolio,
    trailing_unjudged,
    would_continue,
)
from ...reflectionflow_core.search.budget import limit_calls
from ...reflectionflow_core.search.checks import check_trust, check_understood
from ...reflectionflow_core.search.portfolio import Replaying
from ...reflectionflow_core.settings import Budget
from .judging import check_judges, errors_of_verifier
from .kept import ROUNDS, search_key
from .rounds import keep_unjudged
from .running import BatchProgress
from .sockets import SearchActors, SearchState
from .stopping import STOPPING

MOST_PROMPTS = 200
NO_PROMPTS = "There are no prompts. Write one on each line."
TOO_MANY = f"There are more than {MOST_PROMPTS} prompts. Split them among several Prompt Batches."


class PromptSearch(Replaying):
    """The search of one prompt; its pictures are kept after each one."""

    def __init__(
        self, state: SearchState, handles: SearchActors, key: str | None, progress: BatchProgress
    ) -> None:
        found = ROUNDS.find(key)
        self.state, self.key, self.handles = state, key, handles
        self.judge: Mapping[str, Any] | None = found.state.judge if found else None
        steps = found.steps if found else ()
        super().__init__(state.prompt, state.settings, handles.actors, progress, steps)

    @property
    def reached(self) -> SearchState:
        depth = self.settings.depth
        return replace(self.state, history=self.history, depth=depth, done=True)

    def end(self) -> None:
        """Records that the budget of all prompts is used up, if this search would continue."""
        ended = SHARED if would_continue(self.history, self.settings) else ""
        self.history = replace(self.history, ended=ended)

    def play(self, budget: Budget) -> Generator[History]:
        before, known = self.reached, len(self.steps)
        try:
            for history in super().play(budget):
                if len(self.steps) > known and not trailing_unjudged(history):
                    ROUNDS.keep(self.key, self.reached, steps=self.steps)
                yield history
        except UnjudgedError as error:
            where = keep_unjudged(before, error.history)
            raise UnjudgedError(error.history, f"{self.prompt}: {error} {where}") from error


@dataclass(frozen=True)
class PromptBatchSearch:
    """The searches of a batch, in the order of its prompts, and their shared budget."""

    searches: Sequence[PromptSearch]
    total: Budget
    progress: BatchProgress

    @property
    def spent(self) -> int:
        """Pictures so far, those included that were kept from an earlier run."""
        return sum(search.history.cost.images for search in self.searches)

    def play(self) -> bool:
        """Paints until the budget is spent or all searches have ended; returns False if stopped
        earlier.

        Raises UnjudgedError as `portfolio` does.
        """
        try:
            with STOPPING.during():
                self._say()
                turns = [Turn(self, i) for i in range(len(self.searches))]
                for index, history in portfolio(turns, self.total):
                    self._say()
                    size = self.searches[index].settings.batch_size
                    # A batch is painted and judged as a whole before its first picture arrives.
                    if STOPPING.requested and not len(history.rounds[-1]) % size:
                        return False
                if STOPPING.requested:
                    return False
            for search in self.searches:
                search.end()
        except InterruptProcessingException:
            self.progress.cancelled(self.spent)
            if best := [one.history.best.image for one in self.searches if len(one.history)]:
                self.progress.show_pictures(best)
            raise
        return True

    def _say(self) -> None:
        self.progress.reached(self.spent, sum(search.painted for search in self.searches))


@dataclass(frozen=True)
class Turn:
    """A search of a batch that reports whose turn it is."""

    batch: PromptBatchSearch
    index: int

    @property
    def standing(self) -> Any:
        return self.batch.searches[self.index].standing

    def play(self, budget: Budget) -> Generator[History]:
        if not STOPPING.requested:
            self.batch.progress.turn(self.index)
            yield from self.batch.searches[self.index].play(budget)


def prompts_in(text: str) -> list[str]:
    """The prompts of a text, one per line, without empty lines and repetitions.

    Raises InputError for none and for too many.
    """
    prompts = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not prompts:
        raise InputError(NO_PROMPTS)
    if len(prompts) > MOST_PROMPTS:
        raise InputError(TOO_MANY)
    return prompts


def check_prompts(states: Sequence[SearchState], handles: SearchActors, total: Budget) -> None:
    """Raises InputError for the first prompt that cannot be painted or judged; asks no model."""
    actors = handles.actors
    with limit_calls(total):
        for number, state in enumerate(states, 1):
            try:
                check_search(state.prompt, replace(state.settings, budget=total), actors, History())
                check_understood(state.prompt, state.settings, actors)
            except InputError as error:
                raise InputError(f"Prompt {number}, {state.prompt!r:.80}: {error}") from error


def prompt_batch(
    states: Sequence[SearchState],
    handles: SearchActors,
    total: Budget,
    progress: BatchProgress,
    graph: tuple[Mapping[str, Any], Any],
) -> PromptBatchSearch:
    """A batch, ready to run, with everything that is kept of it.

    `graph` has the wires of the actors and ComfyUI's graph. Raises InputError for what cannot be
    searched, and for a judge that is blind or does not answer.
    """
    check_prompts(states, handles, total)
    states = [replace(one, chosen=handles.chosen, identity=handles.identity) for one in states]
    searches = [PromptSearch(one, handles, search_key(one, *graph), progress) for one in states]
    known = [search.judge for search in searches if search.judge is not None]
    judge = known[0] if known else check_judges(handles, progress)
    errors = errors_of_verifier(handles, judge)
    for search in searches:
        check_trust(search.settings, errors)
        search.actors = replace(search.actors, errors=errors)
        search.state = replace(search.state, judge=judge)
    return PromptBatchSearch(searches, total, progress)
