"""`reflectionflow evaluate geneval`: GenEval's protocol, by a detector of transformers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..archive import files
from ..doctor import versions
from ..geneval.folder import Sample, digest_of, read_prompts, samples_in, usable
from ..geneval.judging import DetectorChoice, GenEvalRun, judge_all
from ..geneval.painting import painted_by
from ..geneval.results import publish_benchmark
from ..geneval.scores import SAMPLES, official_lines, results_of
from ..geneval.tasks import read_task
from ..identity import weights_of
from ..record import InputError
from ..report.words import counted
from .outcome import CommandOutcome
from .painting import check_options, paint_pictures, would_judge
from .watching import finished, fresh_file, pool_of, pool_text, tell_unreadable, watch

OF_DETECTOR = ("detector", "colour_judge")


def run_geneval(given: Mapping[str, Any], command: str) -> CommandOutcome:
    """Paints missing pictures if asked to, and judges every picture; the table is the outcome."""
    file, pool = fresh_file(given), pool_of(given, usual=1)
    check_options(given, ("device", *OF_DETECTOR))
    if given.get("generate"):
        # A search by the verifier objects names its own detector, as objects:WHERE.
        painting = {name: value for name, value in given.items() if name not in OF_DETECTOR}
        planned = paint_pictures(painting, _prompts(given), given.get("samples", SAMPLES), pool)
        if planned is not None:
            return planned
    samples, unreadable = usable(samples_in(Path(given["images"])))
    left_out = tell_unreadable(unreadable)
    geneval = _asked(given, samples)
    if given.get("dry_run"):
        return would_judge(file, len(geneval.samples), f"detector {given['detector']}", pool)
    sys.stderr.write(f"{counted(len(geneval.samples), 'picture')} to judge, {pool_text(pool)}.\n")
    watch(
        judge_all(geneval, file, pool), len(geneval.samples), "pictures judged", given.get("hours")
    )
    journal = geneval.journal(file)
    results = results_of(geneval.samples, journal.lines(dict), left_out)
    files.replace_file(file.with_suffix(".jsonl"), official_lines(results.lines).encode())
    return finished(file, publish_benchmark(results, journal, Path(given["images"]), command))


def _prompts(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "prompts" not in given:
        raise InputError("There is nothing to paint. Give GenEval's prompts with --prompts FILE.")
    prompts = read_prompts(Path(given["prompts"]))
    for metadata in prompts:
        read_task(metadata)  # refused before anything is painted
    return prompts


def _asked(given: Mapping[str, Any], samples: Sequence[Sample]) -> GenEvalRun:
    folder = Path(given["images"])
    colours = given.get("colour_judge")
    judge = {
        "detector": weights_of(given["detector"])[:16],
        "colours": weights_of(colours)[:16] if colours else None,
    }
    about = {
        "judge": judge,
        "pictures": digest_of(samples),
        "seed": painted_by(folder).seed,
        "versions": versions(),
    }
    return GenEvalRun(
        samples, DetectorChoice(given["detector"], colours, given.get("device")), about
    )
