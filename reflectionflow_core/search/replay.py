"""Where a History stands in its strategy's plan, found by playing the plan over its rounds."""

from __future__ import annotations

from ..record import History, InputError, SearchSettings
from .strategies import strategy_named
from .task import Plan, Task


def due_round(history: History, settings: SearchSettings) -> tuple[int, list[Task]]:
    """Index and tasks of the round under way or else of the next; no tasks if no round is left.

    Raises InputError for a History whose rounds are not those of the plan.
    """
    plan = strategy_named(settings.strategy).plan(settings)
    sizes = [len(candidates) for candidates in history.rounds]
    planned: list[int] = []
    tasks = next(plan, [])
    for index, size in enumerate(sizes):
        planned.append(len(tasks))
        last = index == len(sizes) - 1
        if last and size < len(tasks):
            return index, tasks
        if size != len(tasks):
            raise InputError(
                f"The history has rounds of {sizes} pictures, the settings ask for {planned}. "
                "Resume with the width, drafts, depth and strategy that it was begun with."
            )
        # Without its cost: of an earlier moment nobody knows it any more.
        tasks = after(plan, History(history.rounds[: index + 1]))
    return len(sizes), tasks


def after(plan: Plan, past: History) -> list[Task]:
    """The tasks of the round after `past`; none once the plan has ended."""
    try:
        return plan.send(past)
    except StopIteration:
        return []
