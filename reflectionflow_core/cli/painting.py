"""Paints the pictures of a benchmark by searches with the options of `run`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..archive import Run
from ..choice import LATER, RECORDED, ActorChoice
from ..doctor import versions
from ..evaluation.journal import recorded_seed
from ..evaluation.pool import WorkerPool
from ..geneval.painting import RECORD, PaintingRun, paint, unjudged_text
from ..identity import identity
from ..judge_errors import JudgeErrors
from ..plugins import load_plugins
from ..protocols import Actors
from ..record import InputError
from ..registry import build_actors, choice_of
from ..report.words import counted, forecast_text, settings_text
from ..search import forecast
from ..search.checks import check_drafts, check_trust
from ..search.strategies import axes_in_force
from ..settings import Budget, SearchSettings
from ..vlm.named import ENDPOINT, forget_vlm
from .dry_run import judge_text, model_text
from .effects import Situation, check_effects
from .evaluate_options import FOR_ONE_PROMPT, FOR_TEXTS
from .judging import errors_of_verifier, judge_of, looks
from .me import check_nobody_is_asked
from .naming import flag_of, name_of
from .options import make_record, make_settings, settings_of, with_drawn_seed
from .outcome import CommandOutcome, would_do
from .preparing import text_to_write
from .screen import quieten_libraries
from .unloaded import unloaded
from .watching import pool_text, watch

NEEDED_TEXTS = {"stages": "a plan", "draft_prompt": "a thought"}  # by setting


def paint_pictures(
    given: Mapping[str, Any], prompts: Sequence[Mapping[str, Any]], samples: int, pool: WorkerPool
) -> CommandOutcome | None:
    """Paints the missing pictures in the folder of --images; with --dry-run only says how many."""
    _check_one_search_fits_all(given)
    given = with_drawn_seed(given, recorded_seed(Path(given["images"]) / RECORD))
    load_plugins(given.get("plugins", ()))
    actors, settings = make_record(given), make_settings(given, settings_of(given))
    choice = choice_of(actors)
    check_nobody_is_asked(choice)
    axes_in_force(settings)  # raises for a strategy that does not exist
    if setting := text_to_write(Run("", settings)):
        raise InputError(
            f"The strategy {settings.strategy!r} begins with {NEEDED_TEXTS[setting]} for each "
            "prompt, which a benchmark does not write. Choose another strategy, or use "
            "reflectionflow run --prompts."
        )
    check_effects(Situation(settings, choice, given))
    check_drafts(settings)
    dry = bool(given.get("dry_run"))
    errors = errors_of_verifier(_judge_of(choice, settings, given, pool, ask=not dry), choice)
    check_trust(settings, errors, given)
    if dry:
        actors = replace(unloaded(choice, settings), errors=errors)
        cost = forecast_text(forecast(settings, actors))
        return _would_paint(given, settings, choice, len(prompts) * samples, cost, pool)
    about = {
        "settings": asdict(settings),
        "actors": actors,
        "weights": identity(choice),
        "versions": versions(),
        **({"errors": errors.data()} if errors else {}),
    }
    painting = PaintingRun(Path(given["images"]), prompts, samples, settings, about)
    total = len(painting.jobs)
    sys.stderr.write(f"{counted(total, 'picture')} to paint, a search each, {pool_text(pool)}.\n")
    watch(
        paint(painting, partial(_build, choice, settings, errors), pool),
        total,
        "pictures painted",
        given.get("hours"),
    )
    sys.stderr.write(f"{text}\n" if (text := unjudged_text(painting.folder)) else "")
    return None


def _check_one_search_fits_all(given: Mapping[str, Any]) -> None:
    """Raises InputError for options about the texts of a single prompt."""
    for name in FOR_ONE_PROMPT:
        if given.get(name):
            raise InputError(
                f"{flag_of(name)} is for one prompt, and a benchmark has many. Remove it."
            )
    for name in FOR_TEXTS:
        if name in given:
            raise InputError(
                f"{flag_of(name)} is for plans and thoughts, which a benchmark does not write. "
                f"Remove {flag_of(name)}."
            )


def _would_paint(
    given: Mapping[str, Any],
    settings: SearchSettings,
    choice: ActorChoice,
    count: int,
    cost: str,
    pool: WorkerPool,
) -> CommandOutcome:
    return would_do(
        {
            "pictures": f"{count} in {given['images']}, by a search each where missing",
            "search": settings_text(settings, choice.model),
            "model": model_text(choice),
            "judge": judge_text(choice),
            "cost": f"{cost} For each picture, {pool_text(pool)}.",
            "then": f"judge them, and write {given['out']}",
        }
    )


def would_judge(file: Path, count: int, judge: str, pool: WorkerPool) -> CommandOutcome:
    """What a benchmark would do with existing pictures."""
    pictures = f"{counted(count, 'picture')} to judge, {pool_text(pool)}"
    return would_do({"pictures": pictures, "judge": judge, "file": str(file)})


def _judge_of(
    choice: ActorChoice,
    settings: SearchSettings,
    given: Mapping[str, Any],
    pool: WorkerPool,
    ask: bool = True,
) -> Mapping[str, Any]:
    """What is known of the judge; raises as `check_judge`. Frees its memory for workers."""
    found = judge_of(choice, settings, given, ask)
    is_local = choice.vlm is not None and not choice.vlm.startswith(ENDPOINT)
    if is_local and looks(choice, settings) and (pool.count != 1 or pool.ray):
        forget_vlm()
    return found


def check_options(given: Mapping[str, Any], of_judge: Sequence[str]) -> None:
    """InputError for options of a search if nothing is painted; `of_judge` are always allowed."""
    if given.get("generate"):
        return
    limits = map(name_of, fields(Budget))
    settings = {*_names(SearchSettings), *limits, "think_first"}
    painters = {*RECORDED, *LATER, "prompts", "samples", "judge_errors"} - {*of_judge}
    if strange := [name for name in given if name in settings | painters]:
        raise InputError(
            f"{flag_of(strange[0])} belongs to the search that paints pictures. Give "
            "--generate as well, or remove it."
        )


def _names(record: type) -> list[str]:
    return [field.name for field in fields(record)]


def _build(choice: ActorChoice, settings: SearchSettings, errors: JudgeErrors | None) -> Actors:
    quieten_libraries()
    return replace(build_actors(choice, settings), errors=errors)
