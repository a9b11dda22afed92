"""`reflectionflow evaluate geneval2`: Soft-TIFA, by a vision-language model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..doctor import versions
from ..geneval.compositions import matched, read_compositions
from ..geneval.folder import Sample, digest_of, usable
from ..geneval.painting import painted_by
from ..geneval.results import publish_benchmark
from ..geneval.soft_tifa import GenEval2Run, results_of, score_all
from ..identity import vlm_identity
from ..record import InputError
from ..report.words import counted
from ..vlm.interface import Vlm
from ..vlm.named import ENDPOINT, build_vlm
from .judging import agree_about
from .outcome import CommandOutcome
from .painting import check_options, paint_pictures, would_judge
from .screen import quieten_libraries
from .watching import finished, fresh_file, pool_of, pool_text, tell_unreadable, watch

MAX_PIXELS = 2048 * 2048  # the official judge sees pictures unscaled


def run_geneval2(given: Mapping[str, Any], command: str) -> CommandOutcome:
    """Paints missing pictures if requested, and judges all; the outcome is the tables."""
    file, pool = fresh_file(given), pool_of(given, usual=1)
    check_options(given, ("device", "vlm", "vlm_dtype"))
    judge, images = _judge(given), Path(given["images"])
    compositions = read_compositions(Path(given["data"]))
    if not given.get("dry_run"):
        agree_about(judge, bool(given.get("send_pictures")))
    if given.get("generate"):
        prompts = [{"prompt": composition.prompt} for composition in compositions]
        planned = paint_pictures(given, prompts, 1, pool)
        if planned is not None:
            return planned
    samples, unreadable = usable(matched(compositions, images))
    left_out = tell_unreadable(unreadable)
    if given.get("dry_run"):
        return would_judge(file, len(samples), f"asking {judge}", pool)
    geneval2 = GenEval2Run(samples, _about(given, judge, samples))
    build = partial(_build, judge, given.get("device"), given.get("vlm_dtype"))
    sys.stderr.write(f"{counted(len(samples), 'picture')} to ask about, {pool_text(pool)}.\n")
    watch(
        score_all(geneval2, file, build, pool), len(samples), "pictures judged", given.get("hours")
    )
    journal = geneval2.journal(file)
    results = results_of(journal.header["prompts"], journal.lines(dict), left_out)
    return finished(file, publish_benchmark(results, journal, images, command))


def _judge(given: Mapping[str, Any]) -> str:
    if "judge" in given and "vlm" in given and not given.get("generate"):
        raise InputError(
            "--vlm has no effect beside --judge where nothing is painted. Remove one of them, or "
            "give --generate."
        )
    judge = given.get("judge", given.get("vlm"))
    if judge is None:
        raise InputError(
            "Soft-TIFA needs a vision-language model. Give one with --vlm FOLDER or --vlm "
            "endpoint:PROFILE; the official one is Qwen/Qwen3-VL-8B-Instruct."
        )
    return judge


def _about(given: Mapping[str, Any], judge: str, samples: list[Sample]) -> dict[str, Any]:
    return {
        "judge": {"vlm": vlm_identity(judge), "dtype": given.get("vlm_dtype")},
        # A search that was steered by the judge itself measures the fit to that judge.
        "judge_steered": bool(given.get("generate")) and judge == given.get("vlm"),
        "pictures": digest_of(samples),
        "seed": painted_by(Path(given["images"])).seed,
        "versions": versions(),
    }


def _build(judge: str, device: str | None, dtype: str | None) -> Vlm:
    quieten_libraries()
    if judge.startswith(ENDPOINT):
        return build_vlm(judge, device, dtype)
    from ..vlm.local import LocalSettings, load_vlm

    settings = LocalSettings(max_pixels=MAX_PIXELS)
    return load_vlm(judge, device=device, dtype=dtype or "bf16", settings=settings)
