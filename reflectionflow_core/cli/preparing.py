"""What is written once before a search and recorded with it: the draft prompt, the stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import staging
from ..archive import Archive, Run
from ..catalog import ActorChoice, named, vlm_for
from ..record import Cost, InputError, ScenePlan
from ..search.meter import spent_by
from ..search.strategies import strategy_named


def prepared(
    asked: Run, choice: ActorChoice, archive: Archive, given: Mapping[str, Any]
) -> tuple[Run, Cost, str]:
    """The run with all that its strategy begins with, what that cost, and a word on it."""
    settings = asked.settings
    if strategy_named(settings.strategy).in_stages:
        if given.get("think_first"):
            raise InputError(
                f"The strategy {settings.strategy!r} thinks in stages, so --think-first has "
                "nothing to do. Leave it away."
            )
        if settings.stages:
            return asked, Cost(), told(ScenePlan(settings.stages))
        return planned(asked, choice)
    thinks = given.get("think_first") or settings.strategy == "interleaved"
    # Drafts without a thought are there already: an interleaved search goes on as it began.
    begun = bool(len(archive.history)) and not given.get("think_first")
    if not thinks or settings.draft_prompt is not None or begun:
        return asked, Cost(), ""
    return thought_through(asked, choice, archive)


def planned(asked: Run, choice: ActorChoice) -> tuple[Run, Cost, str]:
    name = choice.planner or "rules"
    build = named(staging.PLANNERS, "planner", name)
    planner = build(choice, vlm_for(choice, "planner", name))
    before = spent_by(planner)
    plan = planner.plan(asked.prompt)
    spent = planner.calls if before is None else (spent_by(planner) or 0) - before
    settings = replace(asked.settings, stages=plan.stages)
    return replace(asked, settings=settings), Cost(vlm_calls=spent), told(plan)


def thought_through(asked: Run, choice: ActorChoice, archive: Archive) -> tuple[Run, Cost, str]:
    if len(archive.history):
        raise InputError(
            f"The drafts in {archive.folder} were painted from the prompt as it is. "
            "Leave --think-first away to continue them, or choose another folder."
        )
    name = choice.thinker or ("layout" if choice.vlm is None else "vlm")
    if choice.thinker is None and choice.vlm is None and choice.model != "miniature":
        raise InputError(
            "To think first a vision-language model is asked, and there is none. "
            "Give one with --vlm endpoint:PROFILE or --vlm FOLDER."
        )
    vlm = vlm_for(choice, "thinker", name)
    before = vlm.usage.calls if vlm else 0
    text = named(staging.THINKERS, "thinker", name)(choice, vlm).expand(asked.prompt)
    spent = Cost(vlm_calls=vlm.usage.calls - before if vlm else 0)
    settings = replace(asked.settings, draft_prompt=text)
    return replace(asked, settings=settings), spent, f"Thought through: {text}"


def told(plan: ScenePlan) -> str:
    return "\n".join([*filter(None, [plan.note]), "The stages:", staging.as_text(plan.stages)])
