"""`--dry-run`: what a command would do, and its maximum cost; nothing is loaded, painted or
written.

The actors themselves price their texts; they are built around a model that is never asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..archive import Recording, check_unused, read_recording
from ..archive.experience import experience
from ..archive.run_file import Run
from ..choice import ActorChoice
from ..flux.folders import local_folder
from ..painters import FLUX_SAMPLING, check_corrector, check_size
from ..protocols import SILENT, Actors, Preview, Progress
from ..record import InputError, Request
from ..registry import (
    EVOLVERS,
    INSPECTORS,
    PLANNERS,
    THINKERS,
    VERIFIERS,
    WRITERS,
    Row,
    named,
    source_of,
)
from ..report.words import counted, settings_text
from ..search import check_search
from ..search.strategies import axes_in_force, strategy_named
from ..settings import SearchSettings
from ..texts import no_folder
from ..verifiers.screened import SHORTLIST
from ..verifiers.spec import VerifierSpec, parse_verifiers
from ..vlm.interface import Usage
from ..vlm.named import check_vlm_name
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
from .judging import check_judge, knowing_errors, with_errors_of
from .me import check_heard
from .outcome import CommandOutcome, would_do
from .preparing import (
    Author,
    expected_start,
    lacks_text,
    text_to_write,
    thinker_name,
)
from .run import (
    asked_for,
    check_budget,
    check_resumable,
    folder_of,
    recorded_request,
)

PREVIEW_STEPS = 6  # flux.sampling, which needs torch


class NeverAskedError(Exception):
    """A dry run asks no model."""


@dataclass(slots=True)
class UnloadedPainter:
    """Stands in for any painter: it knows the number of steps, and paints nothing."""

    steps: int

    @property
    def preview_steps(self) -> int:
        return min(self.steps, PREVIEW_STEPS)

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Any]:
        raise NeverAskedError(requests, progress)

    def preview(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Preview]:
        raise NeverAskedError(requests, progress)


class UnloadedRestarter(UnloadedPainter):
    """An UnloadedPainter that can restart from a picture."""

    def steps_from(self, level: float) -> int:
        return max(1, round(level * self.steps))


class UnloadedVlm:
    """Stands in for a vision-language model."""

    usage = Usage()

    def __getattr__(self, name: str) -> Any:
        raise NeverAskedError(name)


@dataclass(frozen=True)
class Priced:
    """Stands in for an actor; `calls` is its number of VLM calls per picture."""

    calls: int


@dataclass(frozen=True)
class PricedScreen(Priced):
    """Stands in for a verifier behind a screen."""

    shortlist: int


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
    asked, actors = _knowing_errors(given, choice, asked, begun if len(history) else None)
    author = unloaded_author(asked, choice)
    if author is not None and not lacks_text(asked, author.setting, history):
        author = None
    settings, before = expected_start(asked, author)
    check_search(asked.prompt, settings, actors, history if len(history) else before)
    known = experience(folder.parent, asked)
    ahead = rest_of(asked, author, actors, history, known.pass_rate)
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
    asked, actors = _knowing_errors(given, choice, asked, recorded)
    author = unloaded_author(asked, choice)
    runs = named_runs(asked)
    for run in runs.values():
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


def _knowing_errors(
    given: Mapping[str, Any], choice: ActorChoice, asked: Run, begun: Run | None
) -> tuple[Run, Actors]:
    """The run and its actors with the judge's known errors, without asking the judge."""
    asked = with_errors_of(check_judge(choice, asked, given, ask=False), begun)
    return asked, knowing_errors(unloaded(choice, asked.settings), choice, asked, given)


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


def unloaded(choice: ActorChoice, settings: SearchSettings) -> Actors:
    """Actors with the choice's costs; InputError for a missing model, device or profile."""
    if choice.device is not None:
        from ..flux.placement import device_named

        device_named(choice.device)
    if choice.vlm is not None:
        check_vlm_name(choice.vlm, choice.vlm_dtype)
    axes = axes_in_force(settings) if settings.depth else ()
    sampling = choice.sampling or FLUX_SAMPLING
    if _is_flux(choice):
        check_corrector(choice, "reflection" in axes)
    check_size(choice, "reflection" in axes)
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
    for part in parts.values():
        _check_model(part, choice)
    calls = [
        _priced(VERIFIERS, "verifier", part.name, replace(choice, verifier=text)).calls
        for text, part in parts.items()
    ]
    if choice.screen is not None:
        return PricedScreen(sum(calls), SHORTLIST if choice.shortlist is None else choice.shortlist)
    return Priced(sum(calls))


def _check_model(part: VerifierSpec, choice: ActorChoice) -> None:
    """Raises InputError for a verifier whose own model is not named, or is not there."""
    alone = replace(choice, verifier=part.text)
    where = source_of(alone) if VERIFIERS[part.name].source else part.source
    if part.name == "objects":
        from ..detection.load import NO_DETECTOR, ONNX

        where = (where or choice.detector or "").removeprefix(ONNX)
        if not where:
            raise InputError(NO_DETECTOR)
    folder = local_folder(where) if where else None
    if folder is not None and not folder.exists():
        raise no_folder(folder, f"Give the model of the verifier {part.name}.")


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


def unloaded_author(asked: Run, choice: ActorChoice) -> Author | None:
    """The author of `author_of`, with its cost only."""
    setting = text_to_write(asked)
    if setting is None:
        return None
    if setting == "stages":
        actor = _priced(PLANNERS, "planner", choice.planner or "rules", choice)
    else:
        actor = _priced(THINKERS, "thinker", thinker_name(choice), choice)
    return Author(setting, actor, _write_nothing)


def _write_nothing(prompt: str) -> tuple[Any, str]:
    raise NeverAskedError(prompt)
