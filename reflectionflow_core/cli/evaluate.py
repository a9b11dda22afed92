"""`reflectionflow evaluate shapes`: the studies of the paper on the miniature."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..archive import files
from ..doctor import versions
from ..evaluation.evaluation import (
    Evaluation,
    Results,
    evaluate,
    results_so_far,
)
from ..evaluation.journal import recorded_seed
from ..evaluation.page import Section
from ..evaluation.plots import bar_chart, scaling_curve
from ..evaluation.prompts import held_out, meanings
from ..evaluation.publishing import Origin, publish, publish_page
from ..evaluation.studies import (
    ALL,
    StudyPlan,
    judged_by,
    pictures_of,
    studies_in,
    study_named,
    study_question,
)
from ..evaluation.tables import tables_of
from ..identity import identity
from ..miniature.prompts import FAMILIES
from ..protocols import Actors
from ..record import InputError
from ..registry import ActorChoice, build_actors
from ..report.words import counted
from ..settings import SearchSettings, chosen_seed
from ..starting import prepare_for
from .evaluate_options import PROMPTS, PROMPTS_OF_ALL
from .interrupt import PausedError
from .naming import flag_of, in_words
from .options import with_drawn_seed
from .outcome import CommandOutcome, would_do
from .screen import quieten_libraries
from .watching import finished, fresh_file, pool_of, pool_text, watch

QUICK = {
    "prompts": 20,  # two of each family
    "budgets": (1, 2, 4),
    "grid": ((4, 1), (2, 2), (1, 4)),
    "errors": (0.0, 0.2),
    "steps": 60,
}
TITLE = "The miniature, measured"
TABLE1 = ("table1", "difficulty", "verifier")
# Studies that read an option; those that are not here read it all.
READ_BY = {
    "strategies": TABLE1,
    "grid": ("table2",),
    "budgets": (*TABLE1, "controls", "strategies", "scouts", "adaptive"),
}


def run_shapes(given: Mapping[str, Any], command: str) -> CommandOutcome:
    """Runs the study, or resumes it; its tables are the outcome.

    PausedError after the given hours, with a page of the prompts done so far.
    """
    _check_effects(given)
    file, pool = fresh_file(given), pool_of(given)
    plan, evaluation = _asked(with_drawn_seed(given, recorded_seed(file)))
    build = partial(build_quietly, given.get("lora"))
    prompts = counted(len(evaluation.prompts), "prompt")
    searches = f"{counted(len(evaluation.trials), 'search', 'searches')} on {prompts}"
    pictures = counted(pictures_of(evaluation.arms), "picture")
    if given.get("dry_run"):
        return would_do(
            {
                "study": f"{evaluation.study}: {study_question(evaluation.study)}",
                "searches": searches,
                "cost": f"at most {pictures} a prompt, {pool_text(pool)}",
                "file": str(file),
            }
        )
    if given.get("prompts", len(evaluation.prompts)) != len(evaluation.prompts):
        sys.stderr.write(f"Every family has as many prompts as the others, so {prompts} in all.\n")
    sys.stderr.write(f"{searches}, at most {pictures} a prompt, {pool_text(pool)}.\n")
    total, counts = len(evaluation.trials), evaluate(evaluation, file, build, pool)
    try:
        watch(counts, total, "searches", given.get("hours"))
    except PausedError as pause:
        raise PausedError(f"{pause}{_shown_so_far(evaluation, plan, file, command)}") from None
    return finished(file, _published(evaluation, plan, file, command))


def _check_effects(given: Mapping[str, Any]) -> None:
    """Raises InputError for an option that the study does not use."""
    study = given["study"]
    for name, studies in READ_BY.items():
        if name in given and study not in (*studies, ALL):
            raise InputError(
                f"{flag_of(name)} has no effect in the study {study}. Choose --study "
                f"{in_words(studies)}, or remove {flag_of(name)}."
            )


def build_quietly(lora: str | None = None) -> Actors:
    """The miniature with all its actors, without messages of libraries."""
    quieten_libraries()
    prepare_for("miniature")
    return build_actors(ActorChoice(lora=lora), SearchSettings())


def _asked(given: Mapping[str, Any]) -> tuple[StudyPlan, Evaluation]:
    chosen = {**(QUICK if given.get("quick") else {}), **given}
    read = ("budgets", "strategies", "grid", "errors", "steps")
    plan = StudyPlan(**{name: chosen[name] for name in read if name in chosen})
    families = given.get("families", FAMILIES)
    prompts = chosen.get("prompts", PROMPTS_OF_ALL if given["study"] == ALL else PROMPTS)
    per_family = max(1, round(prompts / max(1, len(families))))
    known = identity(ActorChoice(lora=given.get("lora")))
    about = {
        "model": "miniature",
        "weights": known["model"][:16],
        **({"lora": known["lora"][:16]} if known["lora"] else {}),
        "versions": versions(),
    }
    study, seed = given["study"], chosen_seed(given.get("seed", 0))
    arms = study_named(study)(plan)
    arms = judged_by(arms, given.get("judge", "exact"), given.get("known_errors", False))
    return plan, Evaluation(study, arms, held_out(per_family, seed, families), seed, about)


def _published(evaluation: Evaluation, plan: StudyPlan, file: Path, command: str) -> str:
    """Writes FILE, its plots and its page, and returns the tables."""
    results = results_so_far(evaluation, file)
    sections, origin = _sections(results, plan), Origin(command, evaluation.seed, results.cost)
    for section in sections:
        if section.plot:
            plot = file.with_name(f"{file.stem}-{section.title}.png")
            files.replace_file(plot, section.plot)
    tables = {section.title: [table.data() for table in section.tables] for section in sections}
    record = {"summary": {"tables": tables}, "outcomes": results.records}
    journal = evaluation.journal(file)
    return publish(journal, TITLE, _notes(results), sections, origin, record)


def _shown_so_far(evaluation: Evaluation, plan: StudyPlan, file: Path, command: str) -> str:
    """Writes the page of the first prompts of a paused evaluation; says so in a sentence, or "" if
    too few are done."""
    results = results_so_far(evaluation, file)
    count, all_of_them = len(results.evaluation.prompts), len(evaluation.prompts)
    if not count:
        return ""
    so_far = f"Not finished: these are the first {count:,} of {all_of_them:,} prompts."
    origin, journal = Origin(command, evaluation.seed, results.cost), evaluation.journal(file)
    publish_page(journal, TITLE, [so_far, *_notes(results)], _sections(results, plan), origin)
    return f" The results of the first {counted(count, 'prompt')} are in {journal.page}."


def _sections(results: Results, plan: StudyPlan) -> list[Section]:
    return [_section(study, results, plan) for study in studies_in(results.evaluation.study)]


def _notes(results: Results) -> list[str]:
    prompts = results.evaluation.prompts
    count, different = len(prompts), meanings(prompts)
    return [
        f"Right is the share of {count:,} held-out prompts, of {different:,} different meanings, "
        "whose best picture is right. N is the number of pictures painted for a prompt. A family "
        "of few meanings repeats them with other noise, so its figures are about just these.",
        "With each figure stands its 95 % interval: Wilson's of a share, a bootstrap over prompts "
        "of differences and costs.",
        "These figures are about the miniature. They say nothing about FLUX.1-dev.",
        *filter(None, [results.unjudged_text]),
    ]


def _section(study: str, results: Results, plan: StudyPlan) -> Section:
    tables = tables_of(study, results, plan)
    title = f"The miniature, {study}, {len(results.evaluation.prompts)} prompts"
    curves = next((table for table in tables if table.budgets), None)
    plot = scaling_curve(curves, title) if curves else bar_chart(tables[0], title)
    return Section(study, study_question(study), tables, plot)
