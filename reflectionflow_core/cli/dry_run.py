"""`--dry-run`: what a command would do, and its maximum cost; nothing is loaded, painted or
written.

The actors themselves price their texts; they are built around a model that is never asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..archive import Recording, check_unused, read_recording
from ..archive.experience import experience
from ..archive.run_file import Run
from ..choice import ActorChoice
from ..report.words import counted, settings_text
from ..settings import SearchSettings
from .ahead import cost_text, rest_of, rest_of_batch
from .batch import (
    asked_for_batch,
    check_batch_options,
    check_free,
    check_prompt,
    is_batch,
    named_runs,
    recorded_batch,
)
from .judging import say_unused_errors
from .me import check_heard
from .outcome import CommandOutcome, would_do
from .run import (
    asked_for,
    check_budget,
    check_resumable,
    folder_of,
    recorded_request,
)
from .unloaded import check_rules, unloaded, unloaded_actors, unloaded_author, unloaded_search


def dry_run(given: Mapping[str, Any]) -> CommandOutcome:
    """What `run` would do with these options."""
    return _dry_batch(given) if is_batch(given) else _dry_search(given)


def _dry_search(given: Mapping[str, Any]) -> CommandOutcome:
    folder = folder_of(given)
    if not given.get("resume"):
        check_unused(folder)
    recording = read_recording(folder) if folder.is_dir() else Recording()
    begun, history = recording.run, recording.history
    choice, asked = asked_for(given, recorded_request(given, recording))
    check_heard(choice, given.get("quiet", False), asked.ask)
    if begun and len(history):
        check_resumable(folder, begun, asked)
        check_budget(given, folder, history.cost)
    check_rules(asked.prompt, choice, asked.settings)
    found = unloaded_search(given, choice, asked, begun if len(history) else None, history)
    say_unused_errors(found.asked, choice)
    asked, author = found.asked, found.author
    known = experience(folder.parent, asked)
    ahead = rest_of(asked, author, found.actors, history, known.pass_rate)
    return would_do(
        {
            "prompt": asked.prompt,
            **_who(asked, choice),
            "folder": f"{folder}, {_state(folder, len(history))}",
            "cost": cost_text(author, ahead, known, asked),
        }
    )


def _dry_batch(given: Mapping[str, Any]) -> CommandOutcome:
    """What a batch would do, whose prompts share one budget."""
    check_batch_options(given)
    folder = folder_of(given)
    check_free(folder, bool(given.get("resume")))
    recorded = recorded_batch(folder)
    choice, asked = asked_for_batch(given, folder, recorded)
    asked, actors = unloaded_actors(given, choice, asked, recorded)
    say_unused_errors(asked, choice)
    author = unloaded_author(asked, choice)
    runs = named_runs(asked)
    for run in runs.values():
        check_rules(run.prompt, choice, run.settings)
        check_prompt(run, asked.settings.budget, author, actors)
    rest = rest_of_batch(folder, asked, runs, author, actors, recorded is not None)
    check_budget(given, folder, rest.spent)
    return would_do(
        {
            "prompt": counted(len(runs), "prompt"),
            **_who(asked, choice),
            "folder": f"{folder}, {_state(folder, rest.painted)}",
            "cost": rest.text,
        }
    )


def _who(asked: Run, choice: ActorChoice) -> dict[str, str]:
    return {
        "search": settings_text(asked.settings, choice.model),
        "model": model_text(choice),
        "judge": judge_text(choice),
    }


def dry_ranking(
    prompt: str, folder: Path, count: int, choice: ActorChoice, out: str | None
) -> CommandOutcome:
    """What `rank` would do with `count` pictures; `out` is the folder for results, if any."""
    calls = count * unloaded(choice, SearchSettings(depth=0)).verifier.calls
    return would_do(
        {
            "prompt": prompt,
            "pictures": f"{counted(count, 'picture')} of {folder}",
            "judge": judge_text(choice),
            "cost": f"At most {counted(calls, 'VLM call')}." if calls else "No VLM calls.",
            **({"folder": str(out)} if out else {}),
        }
    )


def _state(folder: Path, painted: int) -> str:
    if painted:
        return f"which has {counted(painted, 'picture')}"
    return "which is there" if folder.is_dir() else "which is new"


def model_text(choice: ActorChoice) -> str:
    """The model, and how it would paint."""
    if choice.model == "miniature":
        return "the miniature"
    from ..pipelines.describing import described

    facts = described(choice.model)
    text = f"{choice.model}: {facts['pipeline']}, paints {facts['paints']}"
    if choice.edit_model is not None:
        editor = described(choice.edit_model)
        text += f"; corrected by {choice.edit_model}: {editor['pipeline']}"
    elif choice.lora is not None:
        text += f"; corrected with {choice.lora}"
    return text


def judge_text(choice: ActorChoice) -> str:
    more = [
        f"{role} {getattr(choice, role)}" for role in ("gate", "screen") if getattr(choice, role)
    ]
    asked = [f"asking {choice.vlm}"] if choice.vlm is not None else []
    return ", ".join([choice.verifier, *more, *asked])
