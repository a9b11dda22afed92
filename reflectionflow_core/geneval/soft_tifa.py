"""GenEval 2's protocol (Kamath et al., 2025): Soft-TIFA over one picture a prompt.

A prompt is taken apart into atoms, each with a question and its right answer. An atom's score is
the probability that a vision-language model begins its answer with the right one, among all that
it could say. AM is the arithmetic mean of a prompt's atoms, GM their geometric mean; both are then
averaged over prompts, and GM is the headline. The official judge is Qwen3-VL-8B-Instruct.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image
from scipy.stats import gmean

from ..evaluation.comparison import Measured
from ..evaluation.journal import Journal
from ..evaluation.pool import Crew, run_all
from ..evaluation.statistics import mean, task_mean
from ..evaluation.tables import Table
from ..evaluation.work import written
from ..record import InputError
from ..report.words import counted
from ..vlm.interface import ExactVlm, Failure, Question, Vlm
from .compositions import Atom
from .folder import Sample, Shown, opened, shown

LABEL = "GenEval 2, Soft-TIFA"
GM, AM = "GM (headline)", "AM"
ASK = "{} Answer in one word."


@dataclass(frozen=True, slots=True)
class Weighed:
    """The probability of the right answer for each atom of a prompt."""

    index: int
    right: tuple[float, ...]
    calls: int


@dataclass(frozen=True)
class GenEval2:
    """What is judged; `about` says by whom, and what the numbers belong to."""

    samples: Sequence[Sample]  # the metadata are those of a Composition
    about: Mapping[str, Any]

    def journal(self, file: Path) -> Journal:
        asked = {"benchmark": "geneval2", "label": LABEL, "about": dict(self.about)}
        prompts = [{"index": sample.index, **sample.metadata} for sample in self.samples]
        return Journal(file, {**asked, "prompts": prompts})


def weigh_all(
    geneval2: GenEval2, file: Path, build: Callable[[], Vlm], crew: Crew
) -> Iterator[int]:
    """Asks what is missing and yields how many pictures are done after each."""
    journal = geneval2.journal(file)
    known = {line["index"] for line in journal.lines(dict)}
    missing = [sample for sample in geneval2.samples if sample.index not in known]
    yield len(known)
    found = run_all(map(shown, missing), partial(_weighers, build), crew)
    for count, done in enumerate(found, start=len(known) + 1):
        journal.append({**asdict(done.value), "trace": written(done.trace)})
        yield count


def _weighers(build: Callable[[], Vlm]) -> Callable[[Shown], Weighed]:
    vlm = build()
    if not isinstance(vlm, ExactVlm):
        raise InputError(
            "Soft-TIFA needs the probabilities of a model's answers, and this one gives none. "
            "Give the folder of a model, or a server that gives log-probabilities."
        )
    return partial(_weighed, vlm)


def _weighed(vlm: ExactVlm, it: Shown) -> Weighed:
    image, before = opened(it.png, it.file), vlm.usage.calls
    atoms = [Atom(**atom) for atom in it.metadata["atoms"]]
    right = probabilities_of(vlm, image, atoms)
    return Weighed(it.index, right, vlm.usage.calls - before)


def probabilities_of(vlm: ExactVlm, image: Image, atoms: Sequence[Atom]) -> tuple[float, ...]:
    """P(right answer) of every atom. Raises InputError for an atom that is not answered: a mean
    over the others would be of another benchmark.
    """
    right: dict[int, float] = {}
    for spellings in dict.fromkeys(atom.spellings for atom in atoms):
        places = [i for i, atom in enumerate(atoms) if atom.spellings == spellings]
        questions = [_question(atoms[i], image) for i in places]
        for place, found in zip(places, vlm.likelihoods(questions, spellings), strict=True):
            if isinstance(found, Failure):
                raise InputError(
                    f"The judge did not answer {atoms[place].question!r}: {found.reason} "
                    "The same command goes on with what is missing."
                )
            right[place] = min(sum(found), 1.0)
    return tuple(right[place] for place in range(len(atoms)))


def _question(atom: Atom, image: Image) -> Question:
    return Question(ASK.format(atom.question), (image,), max_tokens=1)


def tables_of(
    prompts: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]
) -> list[Table]:
    """Both means, GM by atomicity and AM by skill, as the official analysis has them."""
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
    with np.errstate(divide="ignore"):  # the logarithm of a wrong answer that is certain
        gm = np.array([float(gmean(right)) for right in atoms])
    return gm, np.array([float(right.mean()) for right in atoms])


def _by_skill(
    prompts: Sequence[Mapping[str, Any]], atoms: Sequence[np.ndarray]
) -> Iterator[tuple[str, Any]]:
    """The mean over all atoms of a skill; atoms of one prompt are drawn together."""
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
    """What a finished evaluation measured, for `comparison.compare`."""
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
