"""`reflectionflow evaluate geneval2`: Soft-TIFA, by a vision-language model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..archive import files
from ..doctor import versions
from ..evaluation.journal import Journal
from ..evaluation.page import Section, results_page
from ..evaluation.tables import markdown
from ..evaluation.work import summed_up
from ..geneval.compositions import matched, read_compositions
from ..geneval.folder import Sample, digest_of
from ..geneval.soft_tifa import (
    LABEL,
    GenEval2Run,
    score_all,
    tables_of,
)
from ..identity import vlm_identity
from ..record import InputError
from ..report.words import counted
from ..vlm.interface import Vlm
from ..vlm.named import ENDPOINT, build_vlm
from .painting import check_options, origin_of, paint_pictures
from .screen import quieten_libraries
from .watching import fresh_file, in_sentences, pool_of, provenance, told, watch

MOST_PIXELS = 2048 * 2048  # the official judge sees pictures as they are


def run_geneval2(given: Mapping[str, Any], command: str) -> int:
    """Paints what is to be painted, asks about every picture and prints the tables."""
    file, pool = fresh_file(given), pool_of(given, usual=1)
    check_options(given, ("device", "vlm", "vlm_dtype"))
    judge = _judge(given)
    compositions = read_compositions(Path(given["data"]))
    try:
        if given.get("generate"):
            paint_pictures(given, [{"prompt": c.prompt} for c in compositions], 1, pool)
        samples = matched(compositions, Path(given["images"]))
        geneval2 = GenEval2Run(samples, _about(given, judge, samples))
        build = partial(_build, judge, given.get("device"), given.get("vlm_dtype"))
        sys.stderr.write(f"{counted(len(samples), 'picture')} to ask about, {told(pool)}.\n")
        watch(score_all(geneval2, file, build, pool), len(samples), "pictures judged")
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. The same command goes on with what is missing.\n")
        return 130
    _publish(geneval2.journal(file), Path(given["images"]), command)
    return 0


def _judge(given: Mapping[str, Any]) -> str:
    judge = given.get("judge", given.get("vlm"))
    if judge is None:
        raise InputError(
            "Soft-TIFA asks a vision-language model. Give one with --vlm FOLDER or --vlm "
            "endpoint:PROFILE; the official one is Qwen/Qwen3-VL-8B-Instruct."
        )
    return judge


def _about(given: Mapping[str, Any], judge: str, samples: list[Sample]) -> dict[str, Any]:
    return {
        "judge": {"vlm": vlm_identity(judge), "dtype": given.get("vlm_dtype")},
        # Who steered the search by the judge's own opinion measures how well that was learned.
        "judge_steered": bool(given.get("generate")) and judge == given.get("vlm"),
        "pictures": digest_of(samples),
        "seed": origin_of(Path(given["images"])).seed,
        "versions": versions(),
    }


def _build(judge: str, device: str | None, dtype: str | None) -> Vlm:
    quieten_libraries()
    if judge.startswith(ENDPOINT):
        return build_vlm(judge, device, dtype)
    from ..vlm.local import LocalSettings, load_vlm

    settings = LocalSettings(max_pixels=MOST_PIXELS)
    return load_vlm(judge, device=device, dtype=dtype or "bf16", settings=settings)


def _publish(journal: Journal, images: Path, command: str) -> None:
    """The tables on the screen; FILE and its page on disk."""
    lines = sorted(journal.lines(dict), key=lambda line: line["index"])
    origin = origin_of(images)
    tables = [*tables_of(journal.header["prompts"], lines), *origin.tables]
    cost = {
        "vlm_calls": sum(line["calls"] for line in lines),
        **summed_up(line["trace"] for line in lines),
    }
    known = {**provenance(command, origin.seed, cost), "painting": origin.cost}
    about = f"{len(lines)} prompts, one picture each; the benchmark has 800."
    notes = [f"{about} Intervals: a bootstrap over prompts, 95 %.", *in_sentences(known)]
    page = results_page(LABEL, notes, [Section("Scores", about, tables)])
    files.replace_file(journal.file.with_suffix(".html"), page.encode())
    summary = {"label": LABEL, "tables": [table.data() for table in tables]}
    journal.finish({"summary": summary, "provenance": known, "pictures": lines})
    told = "\n\n".join(map(markdown, tables))
    sys.stdout.write(f"## {LABEL}\n\n{about}\n\n{told}\n")
