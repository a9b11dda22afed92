"""What is written once before a search and recorded with it: the draft prompt, the stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..archive import Archive, Run
from ..planners.text import as_text
from ..protocols import Actors, Planner
from ..record import Cost, History, InputError, ScenePlan, SearchSettings, Stage
from ..registry import PLANNERS, THINKERS, ActorChoice, Thinker, build
from ..search import check_search
from ..search.budget import metered
from ..search.strategies import strategy_named


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes one of the settings for a prompt, once and before its first picture.

    `write` takes the prompt and gives that setting's value and a word on it.
    """

    setting: str
    actor: Planner | Thinker
    write: Callable[[str], tuple[Any, str]]


def awaited(asked: Run) -> str | None:
    """The setting that is to be written before the first picture, or None where there is none."""
    settings = asked.settings
    if strategy_named(settings.strategy).in_stages:
        if asked.think_first:
            raise InputError(
                f"The strategy {settings.strategy!r} thinks in stages, so --think-first has "
                "nothing to do. Leave it away."
            )
        return "stages"
    if settings.stages:
        raise InputError(
            f"The strategy {settings.strategy!r} draws no stages, so --stages has nothing to do. "
            "Leave it away, or choose --strategy staged."
        )
    thinks = asked.think_first or settings.strategy == "interleaved"
    return "draft_prompt" if thinks else None


def author_of(asked: Run, choice: ActorChoice) -> Author | None:
    setting = awaited(asked)
    if setting is None:
        return None
    return planning(choice) if setting == "stages" else thinking(choice)


def planning(choice: ActorChoice) -> Author:
    planner = build(PLANNERS, "planner", choice.planner or "rules", choice)

    def write(prompt: str) -> tuple[tuple[Stage, ...], str]:
        plan = planner.plan(prompt)
        return plan.stages, told(plan)

    return Author("stages", planner, write)


def thinking(choice: ActorChoice) -> Author:
    name = choice.thinker or ("layout" if choice.vlm is None else "vlm")
    if choice.thinker is None and choice.vlm is None and choice.model != "miniature":
        raise InputError(
            "To think first a vision-language model is asked, and there is none. "
            "Give one with --vlm endpoint:PROFILE or --vlm FOLDER."
        )
    thinker = build(THINKERS, "thinker", name, choice)

    def write(prompt: str) -> tuple[str, str]:
        text = thinker.expand(prompt)
        return text, f"Thought through: {text}"

    return Author("draft_prompt", thinker, write)


def prepared(
    asked: Run, choice: ActorChoice, archive: Archive, actors: Actors
) -> tuple[Run, Cost, str]:
    """The run with all that its strategy begins with, what that cost, and a word on it."""
    setting = awaited(asked)
    if setting == "stages" and asked.settings.stages:
        check_search(asked.prompt, asked.settings, actors, archive.history)
        _check_stages(asked, actors)
        return asked, Cost(), told(ScenePlan(asked.settings.stages))
    if asked.think_first and asked.settings.draft_prompt is None and len(archive.history):
        raise InputError(
            f"The drafts in {archive.folder} were painted from the prompt as it is. "
            "Leave --think-first away to continue them, or choose another folder."
        )
    if not lacks(asked, setting, archive.history):
        check_search(asked.prompt, asked.settings, actors, archive.history)
        return asked, Cost(), ""
    author = author_of(asked, choice)
    assert author is not None  # there is a setting to write
    settings, history = foreseen(asked, author)
    check_search(asked.prompt, settings, actors, history)
    return written(asked, author)


def _check_stages(asked: Run, actors: Actors) -> None:
    """Raises InputError for a plan that nobody can inspect, by a picture of nothing; asks no
    model."""
    stages, inspector = asked.settings.stages, actors.inspector
    if inspector is not None and not inspector.calls:
        inspector.inspect(asked.prompt, stages, [Image.new("RGB", (64, 64))] * len(stages))


def lacks(asked: Run, setting: str | None, history: History) -> bool:
    """True if a setting is still to be written; pictures without it are gone on with."""
    return setting is not None and not getattr(asked.settings, setting) and not len(history)


def written(asked: Run, author: Author) -> tuple[Run, Cost, str]:
    """The run with what the author writes, what that cost, and a word on it."""
    ((value, words),), calls = metered(author.actor, 1, lambda: [author.write(asked.prompt)])
    settings = replace(asked.settings, **{author.setting: value})
    run = replace(asked, settings=settings, calls=asked.calls + calls)
    return run, Cost(vlm_calls=calls), words


def taken_up(asked: Run, recorded: Run | None, author: Author | None) -> Run:
    """The run with what was written for it before, if anything was."""
    if recorded is None or author is None:
        return asked
    before = {author.setting: getattr(recorded.settings, author.setting)}
    return replace(asked, settings=replace(asked.settings, **before), calls=recorded.calls)


def foreseen(asked: Run, author: Author | None) -> tuple[SearchSettings, History]:
    """How a search will begin as far as can be told before its author is asked."""
    if author is None:
        return asked.settings, History()
    settings = asked.settings
    if author.setting == "stages":
        shortest = Stage(asked.prompt, asked.prompt, (asked.prompt,))
        settings = replace(settings, stages=(shortest,))
    return settings, History().charged(Cost(vlm_calls=author.actor.calls))


def told(plan: ScenePlan) -> str:
    return "\n".join([*filter(None, [plan.note]), "The stages:", as_text(plan.stages)])
