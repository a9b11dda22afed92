"""What a node shows while it paints a round, and after Cancel."""

from __future__ import annotations

from time import monotonic
from typing import Any

from ...reflectionflow_core.record import History
from ...reflectionflow_core.report import counted, verdict_text
from ...reflectionflow_core.search.checks import planned_pictures
from .graph import shown_at
from .progress import NodeProgress, say
from .schema import PREFIX
from .sockets import SearchState

PLANNED: dict[str, int] = {}  # the depth that was last asked of a loop, by its node on the screen


def planned_depth(hidden: Any) -> int | None:
    """The rounds that the loop around the running node was asked for; None without a loop."""
    outer = shown_at(hidden)
    looping = hidden.dynprompt.get_node(outer)["class_type"] == f"{PREFIX}ReflectionLoop"
    return PLANNED.get(outer) if looping else None


class RoundProgress(NodeProgress):
    """The line "Round 2 of 3: judging … 5 of 8 pictures · best 0.83 · about 4 min left"."""

    def __init__(self, hidden: Any, begun: SearchState) -> None:
        self.depth = planned_depth(hidden)
        index = begun.next_round  # scouts may finish a preview after the last round
        known = f" of {self.depth}" if self.depth is not None and index <= self.depth else ""
        super().__init__(shown_at(hidden), f"round {index}{known}:" if index else "drafts:")
        self._began, self._before = monotonic(), len(begun.history)
        if begun.history.rounds:
            self.reached(begun)

    def continues(self, known: int) -> None:
        """The round begins with so many pictures in the search, which cost no time now."""
        self._before = known

    def reached(self, state: SearchState) -> None:
        """After every picture."""
        history, planned = state.history, self._planned(state)
        pictures = counted(planned, "picture")
        parts = [pictures if self.depth is None else f"{len(history)} of {pictures}"]
        if history.best.score is not None:
            parts.append(f"best {history.best.score:.3g}")
        painted = len(history) - self._before
        if painted > 0 and planned > len(history):
            seconds = (monotonic() - self._began) / painted * (planned - len(history))
            parts.append(f"about {rough(seconds)} left")
        self.status = " " + " · ".join(parts)
        self.say_again()

    def show(self, history: History) -> None:
        """Shows the latest round's pictures instead of an unfinished preview."""
        self.show_pictures([candidate.image for candidate in history.rounds[-1]])

    def cancelled(self, kept: History) -> None:
        """Says what was kept, and how to continue."""
        if not len(kept):
            say(self.node_id, "Cancelled. No picture was finished. Press Run to begin again.")
            return
        say(
            self.node_id,
            f"Cancelled. {counted(len(kept), 'picture')} of this search kept, the best "
            f"{verdict_text(kept.best.verdict)}. Press Run to go on from there.",
        )
        self.show(kept)

    def _planned(self, state: SearchState) -> int:
        """How many pictures will be painted, as far as is known."""
        painted = len(state.history)
        if self.depth is None:
            return painted
        planned = planned_pictures(state.settings_until(self.depth))
        # A strategy may paint more than the schedule of the paper.
        return max(painted, min(planned, state.settings.budget.images or planned))


class BatchProgress(NodeProgress):
    """The line "Prompt 3 of 8: painting … 12 of 40 pictures · about 4 min left"."""

    def __init__(self, node_id: str, prompts: int, planned: int) -> None:
        super().__init__(node_id)
        self.prompts, self.planned = prompts, planned
        self._began = monotonic()

    def turn(self, index: int) -> None:
        """The next pictures are of the prompt with that index."""
        self.title = f"prompt {index + 1} of {self.prompts}:"
        self.say_again()

    def reached(self, spent: int, painted: int) -> None:
        """`spent` pictures so far, of which `painted` were not there before."""
        self.planned = max(self.planned, spent)  # as in a search
        self.status = f" {spent} of {counted(self.planned, 'picture')}"
        if painted > 0 and self.planned > spent:
            seconds = (monotonic() - self._began) / painted * (self.planned - spent)
            self.status += f" · about {rough(seconds)} left"
        self.say_again()

    def cancelled(self, spent: int) -> None:
        """Says what was kept, and how to continue."""
        if spent:
            pictures = counted(spent, "picture")
            say(self.node_id, f"Cancelled. {pictures} kept. Press Run to go on from there.")
        else:
            say(self.node_id, "Cancelled before the first picture was finished.")


def rough(seconds: float) -> str:
    """A rounded duration, such as "15 s" or "4 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds / 5)) * 5} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
