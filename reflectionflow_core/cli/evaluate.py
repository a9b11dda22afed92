"""`reflectionflow evaluate shapes`: the studies of the paper on the miniature."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..catalog import ActorChoice, build_actors
from ..doctor import versions
from ..evaluation.evaluation import (
    Evaluation,
    Results,
    evaluate,
    finish,
    part_of,
    results_so_far,
)
from ..evaluation.page import Section, studies_page
from ..evaluation.plots import scaling_curve
from ..evaluation.questions import held_out
from ..evaluation.studies import Plan, pictures_of, studies_in, study_named, what_it_asks
from ..evaluation.tables import markdown, tables_of
from ..identity import identity
from ..miniature.prompts import FAMILIES
from ..protocols import Actors
from ..record import InputError, SearchSettings
from ..report.words import duration
from .screen import quieten_libraries

CURVES = ("table1", "verifier", "controls", "strategies")
QUICK = {
    "prompts": 24,
    "budgets": (1, 2, 4),
    "grid": ((4, 1), (2, 2), (1, 4)),
    "errors": (0.0, 0.2),
}


def run_evaluation(given: Mapping[str, Any]) -> int:
    """Runs the study, goes on with one that was killed, and prints its tables."""
    file = Path(given["json"])
    if file.exists():
        raise InputError(f"{file} is there already. Choose another file, or move it away.")
    plan, evaluation = _asked(given)
    build = partial(build_quietly, given.get("lora"))
    processes = given.get("processes") or os.cpu_count() or 1
    sys.stderr.write(
        f"{len(evaluation.tasks)} searches, at most {pictures_of(evaluation.arms)} pictures "
        f"a prompt, {processes} processes.\n"
    )
    try:
        _watch(evaluation, file, build, processes)
    except KeyboardInterrupt:
        sys.stderr.write(f"Stopped. The same command goes on from {part_of(file)}.\n")
        return 130
    _publish(evaluation, plan, file)
    return 0


def build_quietly(lora: str | None = None) -> Actors:
    """The miniature with every seat taken, in this process or in one of its own."""
    quieten_libraries()
    return build_actors(ActorChoice(lora=lora), SearchSettings())


def _asked(given: Mapping[str, Any]) -> tuple[Plan, Evaluation]:
    chosen = {**(QUICK if given.get("quick") else {}), **given}
    plan = Plan(
        **{k: chosen[k] for k in ("budgets", "strategies", "grid", "errors") if k in chosen}
    )
    families = given.get("families", FAMILIES)
    per_family = max(1, round(chosen.get("prompts", 600) / len(families)))
    known = identity(ActorChoice(lora=given.get("lora")))
    about = {
        "model": "miniature",
        "weights": known["model"][:16],
        **({"lora": known["lora"][:16]} if known["lora"] else {}),
        "versions": versions(),
    }
    study, seed = given["study"], given.get("seed", 0)
    arms = study_named(study)(plan)
    return plan, Evaluation(study, arms, held_out(per_family, seed, families), seed, about)


def _watch(evaluation: Evaluation, file: Path, build: Callable[[], Actors], processes: int) -> None:
    total, began, last = len(evaluation.tasks), time.monotonic(), 0.0
    first = None
    for done in evaluate(evaluation, file, build, processes):
        first = done if first is None else first
        now = time.monotonic()
        if now - last > 2 or done == total:
            last = now
            rate = (done - first) / max(now - began, 1e-9)
            left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
            sys.stderr.write(f"\r{done} of {total} searches{left}      ")
            sys.stderr.flush()
    sys.stderr.write("\n")


def _publish(evaluation: Evaluation, plan: Plan, file: Path) -> None:
    """Tables on the screen; FILE, its plots and its page on disk."""
    results = results_so_far(evaluation, file)
    sections = [_section(study, results, plan) for study in studies_in(evaluation.study)]
    for section in sections:
        if section.plot:
            file.with_name(f"{file.stem}-{section.study}.png").write_bytes(section.plot)
    about = {
        "Prompts": len(evaluation.questions),
        "Seed": evaluation.seed,
        "Machine": platform.machine(),
        "Date": time.strftime("%Y-%m-%d"),
    }
    file.with_suffix(".html").write_text(studies_page(about, sections), encoding="utf-8")
    tables = {section.study: [table.data() for table in section.tables] for section in sections}
    finish(evaluation, file, {**about, "tables": tables})
    for section in sections:
        told = "\n\n".join(map(markdown, section.tables))
        sys.stdout.write(f"## {section.study}\n\n{section.about}\n\n{told}\n\n")


def _section(study: str, results: Results, plan: Plan) -> Section:
    tables, plot = tables_of(study, results, plan), None
    if study in CURVES:
        curves = next(table for table in tables if table.columns[0].startswith("N = "))
        count = len(results.evaluation.questions)
        title = f"The miniature, {study}, {count} prompts"
        plot = scaling_curve(curves, sorted(set(plan.budgets)), title)
    return Section(study, what_it_asks(study), tables, plot)
