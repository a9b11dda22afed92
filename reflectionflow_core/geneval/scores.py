"""GenEval's results from judged pictures.

Papers report three different values: the mean over the six tasks (official), the mean over
pictures, and the share of prompts with any correct picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation.comparison import Measured
from ..evaluation.statistics import mean_share, share
from ..evaluation.tables import Table
from ..evaluation.work import summed_up
from ..report.words import counted
from .folder import Sample, prompts_of, samples_per_prompt
from .results import BenchmarkResults

LABEL = "GenEval protocol, transformers detector"
WARNING = (
    "Not official GenEval figures: the detector is another implementation of the official one's "
    "family. Compare them with figures made by the same detector."
)
ALL_PROMPTS, SAMPLES = 553, 4  # of the whole benchmark; pictures per prompt
MACRO, MICRO, ANY = "overall (mean of tasks)", "all pictures (micro mean)", "prompts with any right"


def results_of(
    samples: Sequence[Sample], lines: Iterable[Mapping[str, Any]], left_out: str = ""
) -> BenchmarkResults:
    """The results from the journal's lines for `samples`; `left_out` says what is missing."""
    position = {(s.index, s.file.name): i for i, s in enumerate(samples)}
    lines = sorted(lines, key=lambda line: position[line["index"], line["name"]])
    about = coverage(samples)
    sights = list({str(line["sight"]): line["sight"] for line in lines}.values())
    return BenchmarkResults(
        title="GenEval",
        label=LABEL,
        about=" ".join(filter(None, (about, left_out, WARNING))),
        tables=[table_of(prompts_of(samples), lines)],
        lines=lines,
        cost=summed_up(line["trace"] for line in lines),
        summary={"whole": about, "sight": sights},
    )


def official_lines(lines: Sequence[Mapping[str, Any]]) -> str:
    """One JSON object per picture, in the official programs' format."""
    return "".join(json.dumps(line["line"]) + "\n" for line in lines)


def table_of(prompts: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> Table:
    """The mean over tasks, each task, and the two other values printed in papers."""
    right, pictures = right_by_prompt(prompts, lines)
    tags = np.array([prompt["tag"] for prompt in prompts])
    rows = [(MACRO, mean_share(right, pictures, tags))]
    for tag in dict.fromkeys(tags.tolist()):
        some = tags == tag
        found = mean_share(right[some], pictures[some], tags[some])
        rows.append((f"{tag} ({counted(int(some.sum()), 'prompt')})", found))
    rows.append((MICRO, mean_share(right, pictures, np.zeros(len(tags)))))
    rows.append((ANY, share(right > 0)))
    return Table(LABEL, ("right",), tuple((name, (found,)) for name, found in rows))


def right_by_prompt(
    prompts: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Correct pictures and all pictures of each prompt, both (n,)."""
    position = {prompt["index"]: i for i, prompt in enumerate(prompts)}
    right, pictures = np.zeros(len(prompts)), np.zeros(len(prompts))
    for line in lines:
        pictures[position[line["index"]]] += 1
        right[position[line["index"]]] += line["line"]["correct"]
    return right, pictures


def coverage(samples: Sequence[Sample]) -> str:
    """A sentence on how much of the benchmark the results cover."""
    prompts = prompts_of(samples)
    tags = dict.fromkeys(prompt["tag"] for prompt in prompts)
    text = (
        f"{len(prompts)} prompts of {len(tags)} tasks, {samples_per_prompt(samples)} pictures each"
    )
    if len(prompts) == ALL_PROMPTS and len(samples) == ALL_PROMPTS * SAMPLES:
        return f"{text}."
    return f"{text}; the whole protocol has {ALL_PROMPTS} prompts, {SAMPLES} each."


def measured(record: Mapping[str, Any]) -> Measured:
    """The results of a finished evaluation, for `comparison.compare`."""
    prompts = record["prompts"]
    right, pictures = right_by_prompt(prompts, record["pictures"])
    rates, tags = right / pictures, np.array([prompt["tag"] for prompt in prompts])
    rows = {MACRO: rates}
    rows |= {tag: np.where(tags == tag, rates, np.nan) for tag in dict.fromkeys(tags.tolist())}
    rows |= {MICRO: rates, ANY: (right > 0).astype(float)}
    about = record["about"]
    return Measured(
        "geneval",
        [prompt["prompt"] for prompt in prompts],
        tags,
        rows,
        frozenset([MACRO]),
        about["judge"],
        about.get("seed"),
    )
