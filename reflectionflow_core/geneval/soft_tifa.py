"""GenEval 2's protocol (Kamath et al., 2025): Soft-TIFA on one picture per prompt.

A prompt is divided into atoms, each a question with its right answer. An atom's score is the
probability that a vision-language model begins its answer with the right one. AM is the arithmetic
mean of a prompt's atoms, GM the geometric mean; both are averaged over prompts, and GM is the main
result. The official judge is Qwen3-VL-8B-Instruct.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image
from scipy.stats import gmean

from ..evaluation.comparison import Measured
from ..evaluation.journal import Journal
from ..evaluation.pool import WorkerPool
from ..evaluation.statistics import mean, task_mean
from ..evaluation.tables import Table
from ..evaluation.work import summed_up
from ..record import InputError
from ..report.words import counted
from ..vlm.interface import ExactVlm, Failure, Question, Vlm
from .compositions import Atom
from .folder import LoadedSample, Sample, decoded, load_sample
from .results import BenchmarkResults

LABEL = "GenEval 2, Soft-TIFA"
GM, AM = "GM (headline)", "AM"
ASK = "{} Answer in one word."
ALL_PROMPTS = 800  # of the whole benchmark


@dataclass(frozen=True, slots=True)
class AtomScores:
    """The probability of the right answer for each atom of a prompt."""

    index: int
    right: tuple[float, ...]
    calls: int


@dataclass(frozen=True)
class GenEval2Run:
    """What is judged; `about` names the model and describes the results."""

    samples: Sequence[Sample]  # with the metadata of a Composition
    about: Mapping[str, Any]

    def journal(self, file: Path) -> Journal:
        header = {"benchmark": "geneval2", "label": LABEL, "about": dict(self.about)}
        prompts = [{"index": sample.index, **sample.metadata} for sample in self.samples]
        return Journal(file, {**header, "prompts": prompts})


def score_all(
    geneval2: GenEval2Run, file: Path, build: Callable[[], Vlm], pool: WorkerPool
) -> Iterator[int]:
    """Judges the missing pictures; yields the number done after each."""
    journal = geneval2.journal(file)
    with journal.locked():
        known = {line["index"] for line in journal.lines(dict)}
        missing = [sample for sample in geneval2.samples if sample.index not in known]
        yield from journal.run(map(load_sample, missing), len(known), partial(_scorer, build), pool)


def _scorer(build: Callable[[], Vlm]) -> Callable[[LoadedSample], AtomScores]:
    vlm = build()
    if not isinstance(vlm, ExactVlm):
        raise InputError(
            "Soft-TIFA needs the probabilities of a model's answers, but this model gives none. "
            "Give the folder of a model, or a server that gives log-probabilities."
        )
    return partial(_scored, vlm)


def _scored(vlm: ExactVlm, it: LoadedSample) -> AtomScores:
    image, before = decoded(it.png, it.file), vlm.usage.calls
    atoms = [Atom(**atom) for atom in it.metadata["atoms"]]
    right = probabilities_of(vlm, image, atoms)
    return AtomScores(it.index, right, vlm.usage.calls - before)


def probabilities_of(vlm: ExactVlm, image: Image, atoms: Sequence[Atom]) -> tuple[float, ...]:
    """P(right answer) of every atom.

    InputError for an atom without an answer: a mean over the others would not be the benchmark.
    """
    right: dict[int, float] = {}
    for spellings in dict.fromkeys(atom.spellings for atom in atoms):
        indices = [i for i, atom in enumerate(atoms) if atom.spellings == spellings]
        questions = [_question(atoms[i], image) for i in indices]
        for index, found in zip(indices, vlm.likelihoods(questions, spellings), strict=True):
            if isinstance(found, Failure):
                raise InputError(
                    f"The judge did not answer {atoms[index].question!r}: {found.reason} "
                    "The same command continues with what is missing."
                )
            right[index] = min(sum(found), 1.0)
    return tuple(right[index] for index in range(len(atoms)))


def _question(atom: Atom, image: Image) -> Question:
    return Question(ASK.format(atom.question), (image,), max_tokens=1)


def results_of(
    prompts: Sequence[Mapping[str, Any]], lines: Iterable[Mapping[str, Any]], left_out: str = ""
) -> BenchmarkResults:
    """The results from the journal's lines; `left_out` says what is missing."""
    lines = sorted(lines, key=lambda line: line["index"])
    calls = sum(line["calls"] for line in lines)
    return BenchmarkResults(
        title="GenEval 2",
        label=LABEL,
        about=f"{len(lines)} prompts, one picture each; the benchmark has {ALL_PROMPTS}. "
        f"{left_out}".strip(),
        tables=tables_of(prompts, lines),
        lines=lines,
        cost={"vlm_calls": calls, **summed_up(line["trace"] for line in lines)},
    )


def tables_of(
    prompts: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]
) -> list[Table]:
    """Both means, GM by atomicity and AM by skill, as in the official analysis."""
    by_index = {line["index"]: np.array(line["right"]) for line in lines}
    atoms = [by_index[prompt["index"]] for prompt in prompts]
    gm, am = means_by_prompt(atoms)
    counts = np.array([prompt["atomicity"] for prompt in prompts])
    levels = tuple(
        (
            f"atomicity {count} ({counted(int((counts == count).sum()), 'prompt')})",
            (mean(gm[counts == count]),),
        )
        for count in sorted(set(counts.tolist()))
    )
    return [
        Table(LABEL, ("score",), ((GM, (mean(gm),)), (AM, (mean(am),)))),
        Table("by atomicity", ("GM",), levels),
        Table("by skill", ("AM",), tuple(_by_skill(prompts, atoms))),
    ]


def means_by_prompt(atoms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Geometric and arithmetic means of each prompt's atoms, both (n,)."""
    with np.errstate(divide="ignore"):  # log(0) if the right answer has probability 0
        gm = np.array([float(gmean(right)) for right in atoms])
    return gm, np.array([float(right.mean()) for right in atoms])


def _by_skill(
    prompts: Sequence[Mapping[str, Any]], atoms: Sequence[np.ndarray]
) -> Iterator[tuple[str, Any]]:
    """The mean over all atoms of a skill, with a bootstrap over prompts."""
    skills = [np.array([atom["skill"] for atom in prompt["atoms"]]) for prompt in prompts]
    for skill in dict.fromkeys(s for row in skills for s in row.tolist()):
        sums = np.array(
            [right[row == skill].sum() for right, row in zip(atoms, skills, strict=True)]
        )
        counts = np.array([float((row == skill).sum()) for row in skills])
        some = counts > 0
        found = task_mean(sums[some], counts[some], np.zeros(int(some.sum())))
        yield f"{skill or 'unnamed'} ({counted(int(counts.sum()), 'atom')})", (found,)


def measured(record: Mapping[str, Any]) -> Measured:
    """The results of a finished evaluation, for `comparison.compare`."""
    prompts = record["prompts"]
    by_index = {line["index"]: np.array(line["right"]) for line in record["pictures"]}
    gm, am = means_by_prompt([by_index[prompt["index"]] for prompt in prompts])
    about = record["about"]
    return Measured(
        "geneval2",
        [prompt["prompt"] for prompt in prompts],
        np.zeros(len(prompts)),
        {GM: gm, AM: am},
        judge=about["judge"],
        seed=about.get("seed"),
    )
