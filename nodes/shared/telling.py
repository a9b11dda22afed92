"""What the loop's node shows of its search."""

from __future__ import annotations

from ...reflectionflow_core.record import History
from ...reflectionflow_core.report import cost_text, history_text, verdict_text
from ...reflectionflow_core.search import unjudged_text
from .effects import unused_text
from .judging import notice_of_errors
from .sockets import SearchState


def newest(history: History) -> str:
    """The lines of the latest round and of the best picture: a node has room for few."""
    lines, round_size = history_text(history).splitlines(), len(history.rounds[-1])
    pictures, notes = lines[: len(history)], lines[len(history) :]
    best = pictures[list(history).index(history.best)]
    shown = pictures[-round_size:]
    return "\n".join([*shown, *([] if best in shown else [best]), *notes])


def notices_of(state: SearchState) -> str:
    """What has no effect in this search; "" if everything has."""
    unused = unused_text(state.settings, state.chosen)
    return "\n".join(filter(None, [notice_of_errors(state), unused]))


def summary(state: SearchState) -> str:
    history = state.history
    best = verdict_text(history.best.verdict) if history.best.verdict.judged else "not known"
    lines = [f"Best {best}, after {cost_text(history.cost)}."]
    if failed := unjudged_text(history):
        lines.append(failed)
    if notice := notices_of(state):
        lines.append(notice)
    if state.drawn_seed:
        lines.append(f"The seed is {state.settings.seed}, drawn at random.")
    if state.folder:
        lines.append(f"Saved in {state.folder}")
    return "\n".join(lines)
