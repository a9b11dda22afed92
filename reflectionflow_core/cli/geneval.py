"""`reflectionflow evaluate geneval`: GenEval's protocol, by a detector of transformers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..archive import files
from ..doctor import versions
from ..evaluation.page import Section, results_page
from ..evaluation.tables import markdown
from ..evaluation.work import summed_up
from ..geneval.folder import digest_of, read_prompts, samples_in
from ..geneval.judging import DetectorChoice, GenEvalRun, judge_all
from ..geneval.rules import read_task
from ..geneval.scores import LABEL, coverage, official_lines, table_of
from ..identity import weights_of
from ..record import InputError
from ..report.words import counted
from .painting import check_options, origin_of, paint_pictures
from .watching import fresh_file, in_sentences, pool_of, provenance, told, watch

SAMPLES = 4  # of each prompt, officially
WARNING = (
    "Not official GenEval figures: the detector is another implementation of the official one's "
    "family. Compare them with figures made by the same detector."
)


def run_geneval(given: Mapping[str, Any], command: str) -> int:
    """Paints what is to be painted, judges every picture and prints the table."""
    file, pool = fresh_file(given), pool_of(given, usual=1)
    check_options(given, ("device",))
    try:
        if given.get("generate"):
            prompts = _prompts(given)
            paint_pictures(given, prompts, given.get("samples", SAMPLES), pool)
        geneval = _asked(given)
        sys.stderr.write(f"{counted(len(geneval.samples), 'picture')} to judge, {told(pool)}.\n")
        watch(judge_all(geneval, file, pool), len(geneval.samples), "pictures judged")
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. The same command goes on with what is missing.\n")
        return 130
    _publish(geneval, Path(given["images"]), file, command)
    return 0


def _prompts(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "prompts" not in given:
        raise InputError("There is nothing to paint. Give GenEval's prompts with --prompts FILE.")
    prompts = read_prompts(Path(given["prompts"]))
    for metadata in prompts:
        read_task(metadata)  # what cannot be judged is not painted
    return prompts


def _asked(given: Mapping[str, Any]) -> GenEvalRun:
    folder = Path(given["images"])
    samples = samples_in(folder)
    colours = given.get("colour_judge")
    judge = {
        "detector": weights_of(given["detector"])[:16],
        "colours": weights_of(colours)[:16] if colours else None,
    }
    about = {
        "judge": judge,
        "pictures": digest_of(samples),
        "seed": origin_of(folder).seed,
        "versions": versions(),
    }
    return GenEvalRun(
        samples, DetectorChoice(given["detector"], colours, given.get("device")), about
    )


def _publish(geneval: GenEvalRun, folder: Path, file: Path, command: str) -> None:
    """The table on the screen; FILE, the official lines and the page on disk."""
    journal = geneval.journal(file)
    place = {(s.index, s.file.name): i for i, s in enumerate(geneval.samples)}
    lines = sorted(journal.lines(dict), key=lambda line: place[line["index"], line["name"]])
    whole = coverage(geneval.samples)
    origin = origin_of(folder)
    known = provenance(command, origin.seed, summed_up(line["trace"] for line in lines))
    known["painting"] = origin.cost
    tables = [table_of(journal.header["prompts"], lines), *origin.tables]
    sights = list({str(line["sight"]): line["sight"] for line in lines}.values())
    notes = [WARNING, f"{whole} Intervals: a bootstrap over prompts, 95 %.", *in_sentences(known)]
    files.replace_file(file.with_suffix(".jsonl"), official_lines(lines).encode())
    page = results_page(LABEL, notes, [Section("Right pictures", whole, tables)])
    files.replace_file(file.with_suffix(".html"), page.encode())
    summary = {
        "label": LABEL,
        "whole": whole,
        "sight": sights,
        "tables": [table.data() for table in tables],
    }
    journal.finish({"summary": summary, "provenance": known, "pictures": lines})
    told = "\n\n".join(map(markdown, tables))
    sys.stdout.write(f"## {LABEL}\n\n{whole} {WARNING}\n\n{told}\n")
