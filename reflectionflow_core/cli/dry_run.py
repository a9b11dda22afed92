"""`--dry-run`: what a command would do, and at most spend; nothing is loaded, painted or written.

Texts are priced by the actors themselves, which are built around a model that is never asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..archive import read_recording
from ..archive.experience import experience
from ..archive.run_file import Run
from ..choice import ActorChoice
from ..painters import FLUX_SAMPLING, check_corrector
from ..protocols import SILENT, Actors, Preview, Progress
from ..record import History, InputError, Request
from ..registry import EVOLVERS, INSPECTORS, VERIFIERS, WRITERS, Row, named
from ..report.words import counted, forecast_text, settings_text
from ..search import check_search, forecast
from ..search.strategies import axes_in_force, strategy_named
from ..settings import SearchSettings
from ..verifiers.screened import SHORTLIST
from ..verifiers.spec import parse_verifiers
from ..vlm.interface import Usage
from ..vlm.named import check_vlm_name
from .batch import read_prompts, runs_of
from .outcome import CommandOutcome, would_do
from .preparing import text_to_write
from .run import asked_for, check_budget, check_resumable, folder_of, price_of

PREVIEW_STEPS = 6  # flux.sampling, which needs torch


class NeverAskedError(Exception):
    """A dry run asks no model."""


@dataclass(slots=True)
class UnloadedPainter:
    """Stands in for any painter: it has the steps, and paints nothing."""

    steps: int

    @property
    def preview_steps(self) -> int:
        return min(self.steps, PREVIEW_STEPS)

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Any]:
        raise NeverAskedError(requests, progress)

    def preview(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Preview]:
        raise NeverAskedError(requests, progress)


class UnloadedRestarter(UnloadedPainter):
    """One that can begin with a picture under noise."""

    def steps_from(self, level: float) -> int:
        return max(1, round(level * self.steps))


class UnloadedVlm:
    """Stands in for a vision-language model."""

    usage = Usage()

    def __getattr__(self, name: str) -> Any:
        raise NeverAskedError(name)


@dataclass(frozen=True)
class Priced:
    """Stands in for an actor; `calls` are its VLM calls for one picture."""

    calls: int


@dataclass(frozen=True)
class PricedScreen(Priced):
    """Stands in for a verifier behind a screen."""

    shortlist: int


def dry_run(given: Mapping[str, Any]) -> CommandOutcome:
    """What `run` would do with these options."""
    folder = folder_of(given)
    many = "prompts" in given
    if many:
        given = {**given, "prompt": read_prompts(Path(given["prompts"]))}
    recording = read_recording(folder) if folder.is_dir() and not many else None
    begun = recording.run if recording else None
    if begun and not given.get("resume"):
        raise InputError(
            f"{folder} already holds a run. Add --resume to continue it, or choose another folder."
        )
    choice, asked = asked_for(given, begun)
    history = recording.history if recording else History()
    if begun and len(history):
        check_resumable(folder, begun, asked)
        check_budget(given, folder, history)
    prompts = [run.prompt for run in runs_of(asked)] if many else [asked.prompt]
    actors = unloaded(choice, asked.settings)
    if text_to_write(asked) != "stages":  # whose stages are not written yet
        for prompt in prompts:
            check_search(prompt, asked.settings, actors, history)
    facts = {
        "prompt": asked.prompt if not many else counted(len(prompts), "prompt"),
        "search": settings_text(asked.settings, choice.model),
        "model": model_text(choice),
        "judge": judge_text(choice),
        "folder": f"{folder}, {_state(folder, history)}",
        "cost": _cost(asked, actors, history, len(prompts), folder),
    }
    return would_do(facts)


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


def _state(folder: Path, history: History) -> str:
    if len(history):
        return f"which has {counted(len(history), 'picture')}"
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


def unloaded(choice: ActorChoice, settings: SearchSettings) -> Actors:
    """Actors with the prices of those of the choice.

    Raises InputError for a model or a profile that is not there.
    """
    if choice.vlm is not None:
        check_vlm_name(choice.vlm, choice.vlm_dtype)
    axes = axes_in_force(settings) if settings.depth else ()
    sampling = choice.sampling or FLUX_SAMPLING
    if _is_flux(choice):
        check_corrector(choice, "reflection" in axes)
    painter = (UnloadedRestarter if _restarts(choice) else UnloadedPainter)(sampling.steps)
    corrects, evolves = "reflection" in axes, "prompt" in axes
    inspects = strategy_named(settings.strategy).in_stages
    return Actors(
        generator=painter,
        verifier=_verifier(choice),
        corrector=UnloadedPainter(_edit_steps(choice, sampling.steps)) if corrects else None,
        writer=_priced(WRITERS, "writer", choice.writer, choice) if corrects else None,
        evolver=_priced(EVOLVERS, "evolver", choice.evolver, choice) if evolves else None,
        inspector=_priced(INSPECTORS, "inspector", choice.inspector or "exact", choice)
        if inspects
        else None,
    )


def _is_flux(choice: ActorChoice) -> bool:
    if choice.model == "miniature":
        return False
    from ..pipelines.kinds import FLUX, kind_of

    return kind_of(choice.model).name == FLUX


def _restarts(choice: ActorChoice) -> bool:
    if choice.model == "miniature" or _is_flux(choice):
        return True
    from ..pipelines.kinds import kind_of, repainting

    return repainting(kind_of(choice.model)) is not None


def _edit_steps(choice: ActorChoice, usual: int) -> int:
    if choice.edit_model is None:
        return usual
    if choice.edit_steps is not None:
        return choice.edit_steps
    from ..pipelines.defaults import defaults_of
    from ..pipelines.kinds import kind_of

    return defaults_of(kind_of(choice.edit_model)).sampling.steps


def _verifier(choice: ActorChoice) -> Any:
    specs = filter(None, (choice.verifier, choice.gate, choice.screen))
    parts = {part.text: part for spec in specs for part in parse_verifiers(spec, VERIFIERS)}
    calls = [
        _priced(VERIFIERS, "verifier", part.name, replace(choice, verifier=text)).calls
        for text, part in parts.items()
    ]
    if choice.screen is not None:
        return PricedScreen(sum(calls), SHORTLIST if choice.shortlist is None else choice.shortlist)
    return Priced(sum(calls))


def _priced(rows: Mapping[str, Row[Any]], kind: str, name: str, choice: ActorChoice) -> Any:
    row = named(rows, kind, name)
    if row.asks_vlm or (row.may_ask_vlm and rows is not VERIFIERS and choice.vlm is not None):
        if choice.vlm is None:
            raise InputError(
                f"The {kind} {name!r} asks a vision-language model. "
                "Give one with --vlm endpoint:PROFILE or --vlm FOLDER."
            )
        return Priced(row.build(choice, UnloadedVlm()).calls)
    return Priced(0)


def _cost(asked: Run, actors: Actors, history: History, count: int, folder: Path) -> str:
    known = experience(folder.parent, asked)
    if text_to_write(asked) == "stages" and not asked.settings.stages:
        return "as many stages as the plan has, which is written first"
    ahead = forecast(asked.settings, actors, history, known.pass_rate)
    text = forecast_text(ahead, known.seconds_each, price_of(asked))
    return f"{text} All prompts together keep to the budget." if count > 1 else text
