"""Texts that are written before a search and recorded with it: the draft prompt and the stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..archive import Archive, Run
from ..planners.text import as_text
from ..protocols import Actors, Planner
from ..record import Cost, History, InputError, ScenePlan, Stage
from ..registry import PLANNERS, THINKERS, ActorChoice, Thinker, build
from ..search import check_search
from ..search.budget import ask_within_budget
from ..search.strategies import strategy_named
from ..settings import Budget, SearchSettings
from .screen import Lines


@dataclass(frozen=True, slots=True)
class Author:
    """An actor that writes one of the settings of a prompt, once, before its first picture.

    `write` takes the prompt and returns the setting's value and a text that shows it.
    """

    setting: str
    actor: Planner | Thinker
    write: Callable[[str], tuple[Any, str]]


def text_to_write(asked: Run) -> str | None:
    """The setting to write before the first picture, or None."""
    settings = asked.settings
    if strategy_named(settings.strategy).in_stages:
        if asked.think_first:
            raise InputError(
                f"The strategy {settings.strategy!r} thinks in stages, so --think-first has "
                "no effect. Leave it out."
            )
        return "stages"
    if settings.stages:
        raise InputError(
            f"The strategy {settings.strategy!r} draws no stages, so --stages has no effect. "
            "Leave it out, or choose --strategy staged."
        )
    thinks = asked.think_first or settings.strategy == "interleaved"
    return "draft_prompt" if thinks else None


def author_of(asked: Run, choice: ActorChoice) -> Author | None:
    setting = text_to_write(asked)
    if setting is None:
        return None
    return planning(choice) if setting == "stages" else thinking(choice)


def planning(choice: ActorChoice) -> Author:
    planner = build(PLANNERS, "planner", choice.planner or "rules", choice)

    def write(prompt: str) -> tuple[tuple[Stage, ...], str]:
        plan = planner.plan(prompt)
        return plan.stages, plan_text(plan)

    return Author("stages", planner, write)


def thinker_name(choice: ActorChoice) -> str:
    if choice.thinker is None and choice.vlm is None and choice.model != "miniature":
        raise InputError(
            "Thinking first asks a vision-language model. "
            "Give one with --vlm endpoint:PROFILE or --vlm FOLDER."
        )
    return choice.thinker or ("layout" if choice.vlm is None else "vlm")


def thinking(choice: ActorChoice) -> Author:
    thinker = build(THINKERS, "thinker", thinker_name(choice), choice)

    def write(prompt: str) -> tuple[str, str]:
        text = thinker.expand(prompt, Lines())
        return text, f"Thought through: {text}"

    return Author("draft_prompt", thinker, write)


def prepared(
    asked: Run, choice: ActorChoice, archive: Archive, actors: Actors
) -> tuple[Run, Cost, str]:
    """The run with the text that its strategy begins with, its cost, and how to show it."""
    setting = text_to_write(asked)
    if setting == "stages" and asked.settings.stages:
        check_search(asked.prompt, asked.settings, actors, archive.history)
        _check_stages(asked, actors)
        return asked, Cost(), plan_text(ScenePlan(asked.settings.stages))
    if asked.think_first and asked.settings.draft_prompt is None and len(archive.history):
        raise InputError(
            f"The drafts in {archive.folder} were painted from the prompt as it is. "
            "Leave out --think-first to continue them, or choose another folder."
        )
    if not lacks_text(asked, setting, archive.history):
        check_search(asked.prompt, asked.settings, actors, archive.history)
        return asked, Cost(), ""
    author = author_of(asked, choice)
    assert author is not None  # there is a setting to write
    settings, history = expected_start(asked, author)
    check_search(asked.prompt, settings, actors, history)
    return write_text(asked, author, settings.budget)


def _check_stages(asked: Run, actors: Actors) -> None:
    """InputError for a plan that the inspector cannot read, tried on blank pictures."""
    stages, inspector = asked.settings.stages, actors.inspector
    if inspector is not None and not inspector.calls:
        inspector.inspect(asked.prompt, stages, [Image.new("RGB", (64, 64))] * len(stages))


def lacks_text(asked: Run, setting: str | None, history: History) -> bool:
    """Whether the setting is still to be written; a run that has pictures continues without it."""
    return setting is not None and not getattr(asked.settings, setting) and not len(history)


def write_text(asked: Run, author: Author, budget: Budget) -> tuple[Run, Cost, str]:
    """The run with what the author writes, its cost, and how to show it."""

    def question() -> list[tuple[Any, str]]:
        return [author.write(asked.prompt)]

    ((value, words),), calls = ask_within_budget(budget, asked.calls, author.actor, 1, question)
    settings = replace(asked.settings, **{author.setting: value})
    run = replace(asked, settings=settings, calls=asked.calls + calls)
    return run, Cost(vlm_calls=calls), words


def continuing(asked: Run, recorded: Run | None, author: Author | None) -> Run:
    """The run of one prompt of many, with the text that was recorded for it, if there is one.

    If the prompt was continued alone to a larger depth, it keeps that.
    """
    if recorded is None:
        return asked
    depth = max(asked.settings.depth, recorded.settings.depth)
    asked = replace(asked, settings=replace(asked.settings, depth=depth))
    if author is None:
        return asked
    before = {author.setting: getattr(recorded.settings, author.setting)}
    return replace(asked, settings=replace(asked.settings, **before), calls=recorded.calls)


def expected_start(asked: Run, author: Author | None) -> tuple[SearchSettings, History]:
    """The estimated settings and cost with which a search starts, before its author is asked."""
    if author is None:
        return asked.settings, History()
    settings = asked.settings
    if author.setting == "stages":
        shortest = Stage(asked.prompt, asked.prompt, (asked.prompt,))
        settings = replace(settings, stages=(shortest,))
    return settings, History().charged(Cost(vlm_calls=author.actor.calls))


def plan_text(plan: ScenePlan) -> str:
    return "\n".join([*filter(None, [plan.note]), "The stages:", as_text(plan.stages)])
