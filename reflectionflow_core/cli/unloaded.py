"""Actors that know what they cost and find what is missing, before any model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

from ..archive.run_file import Run
from ..choice import ActorChoice
from ..flux.folders import local_folder
from ..painters import FLUX_SAMPLING, check_corrector, check_size
from ..protocols import SILENT, Actors, Preview, Progress, preview_steps
from ..record import History, InputError, Request
from ..registry import (
    EVOLVERS,
    INSPECTORS,
    MODELS,
    PLANNERS,
    THINKERS,
    VERIFIERS,
    WRITERS,
    Row,
    named,
    source_of,
)
from ..search import check_search
from ..search.strategies import axes_in_force, strategy_named
from ..settings import SearchSettings
from ..texts import no_folder
from ..verifiers.screened import SHORTLIST
from ..verifiers.spec import VerifierSpec, parse_verifiers
from ..vlm.interface import Usage
from ..vlm.named import check_vlm_name
from .judging import check_judge, knowing_errors, with_errors_of
from .preparing import Author, expected_start, lacks_text, text_to_write, thinker_name


class NeverAskedError(Exception):
    """A dry run asks no model."""


@dataclass(slots=True)
class UnloadedPainter:
    """Stands in for any painter: it knows the number of steps, and paints nothing."""

    steps: int

    @property
    def preview_steps(self) -> int:
        return preview_steps(self.steps)

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


@dataclass(frozen=True)
class UnloadedSearch:
    """A search whose models are not loaded: its run with what is known of the judge, its actors,
    and the author of the text that it begins with, if one is still to be written."""

    asked: Run
    actors: Actors
    author: Author | None


def unloaded_search(
    given: Mapping[str, Any], choice: ActorChoice, asked: Run, begun: Run | None, history: History
) -> UnloadedSearch:
    """Raises InputError for what fails without models as with them; those take long to load."""
    asked, actors = unloaded_actors(given, choice, asked, begun)
    author = unloaded_author(asked, choice)
    if author is not None and not lacks_text(asked, author.setting, history):
        author = None
    settings, before = expected_start(asked, author)
    check_search(asked.prompt, settings, actors, history if len(history) else before)
    return UnloadedSearch(asked, actors, author)


def unloaded_actors(
    given: Mapping[str, Any], choice: ActorChoice, asked: Run, begun: Run | None
) -> tuple[Run, Actors]:
    """The run and its actors with the judge's known errors, without asking the judge."""
    asked = with_errors_of(check_judge(choice, asked, given, ask=False), begun)
    return asked, knowing_errors(unloaded(choice, asked.settings), choice, asked, given)


def check_rules(prompt: str, choice: ActorChoice, settings: SearchSettings) -> None:
    """InputError for a prompt that the rules for the miniature's shapes cannot work with."""
    axes = axes_in_force(settings) if settings.depth else ()
    judges = any(part.name == "exact" for part in parse_verifiers(choice.verifier, VERIFIERS))
    if not judges and not ("prompt" in axes and choice.evolver == "rules"):
        return
    from ..miniature.prompts import parse

    try:
        parse(prompt)
    except InputError:
        if choice.model == "miniature":
            raise
        who = "verifier exact" if judges else "evolver rules"
        others = ",".join(axis for axis in axes if axis != "prompt")
        advice = "another --verifier" if judges else f"--evolver vlm, or --axes {others}"
        raise InputError(
            f"The {who} understands only the miniature's shapes, not {prompt!r:.60}. Give {advice}."
        ) from None


@contextmanager
def said_later() -> Iterator[None]:
    """A context for a check without models: its notes are printed by the one with models."""
    with redirect_stderr(StringIO()):
        yield


def has_known_costs(choice: ActorChoice) -> bool:
    """Whether the steps of a model are known without loading it; a plugin's are not."""
    return choice.model == "miniature" or choice.model not in MODELS


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
    if choice.model in MODELS:
        return False
    from ..pipelines.kinds import FLUX, kind_of

    return kind_of(choice.model).name == FLUX


def _restarts(choice: ActorChoice) -> bool:
    if choice.model in MODELS or _is_flux(choice):
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
    if folder is None or folder.exists():
        return
    if part.name == "objects":
        raise InputError(f"There is no detector {folder}. Give the path of one with --detector.")
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
