"""GenEval 2's data: prompts divided into atoms, each a question with its right answer.

The license of the data (CC BY-NC) does not let us ship them; the user gives a copy. It has one
object per prompt, as lines of JSON, a JSON list, or a CSV whose lists are JSON:

    prompt      the text
    vqa_list    pairs [question, answer], or objects with "question" and "answer" (and "skill");
                also named vqa or questions
    skills      one word per atom, such as "count"; also named skill_list
    atom_count  the benchmark's number of atoms; also named atomicity; the default is the number of
                questions
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..archive import files
from ..detection.words import NUMBERS
from ..record import InputError
from ..texts import TextError, checked_text, parse_json, read_text, reason_of
from .folder import Sample, samples_in

_NAMES = {
    "vqa": ("vqa_list", "vqa", "questions"),
    "skills": ("skills", "skill_list"),
    "atoms": ("atom_count", "atomicity"),
}


@dataclass(frozen=True, slots=True)
class Atom:
    """One requirement of a prompt, as a question with its right answer."""

    question: str
    answer: str
    skill: str

    @property
    def spellings(self) -> tuple[str, ...]:
        """The right answer; a number also in digits."""
        word = self.answer.lower()
        return (self.answer, str(NUMBERS.index(word))) if word in NUMBERS[1:] else (self.answer,)


@dataclass(frozen=True, slots=True)
class Composition:
    """A prompt of the benchmark; `atomicity` is the benchmark's number of atoms."""

    prompt: str
    atomicity: int
    atoms: tuple[Atom, ...]


def read_compositions(file: Path) -> list[Composition]:
    """The user's copy of the data; InputError for another format."""
    try:
        with files.reading(file):
            text = read_text(file)
        rows = list(_rows(text, file.suffix.lower()))
        compositions = [_composition(row) for row in rows]
    except InputError as error:
        if isinstance(error, TextError):
            raise InputError(f"{file} cannot be used: {error.reason}. Save it as UTF-8.") from error
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, csv.Error) as error:
        raise InputError(
            f"{file} is not GenEval 2's data ({reason_of(error)}). Give "
            'geneval2_data.jsonl: lines with "prompt", "atom_count", "vqa_list" and "skills".'
        ) from error
    if not compositions:
        raise InputError(f"{file} is empty. Give GenEval 2's geneval2_data.jsonl.")
    return compositions


def _rows(text: str, suffix: str) -> Iterable[Mapping[str, Any]]:
    if suffix == ".csv":
        return csv.DictReader(io.StringIO(text))
    if text.lstrip().startswith("["):
        return parse_json(text)
    return (parse_json(line) for line in text.split("\n") if line.strip())


def _composition(row: Mapping[str, Any]) -> Composition:
    questions, skills = _listed(_field(row, "vqa")), _listed(_field(row, "skills", "[]"))
    objects = [q for q in questions if isinstance(q, dict)]
    if len(objects) == len(questions) and not skills:
        skills = [q.get("skill", "") for q in objects]
    pairs = [(q["question"], q["answer"]) if isinstance(q, dict) else q for q in questions]
    skills = skills or [""] * len(pairs)
    atoms = tuple(
        Atom(_words(question), _words(answer), str(skill))
        for (question, answer), skill in zip(pairs, skills, strict=True)
    )
    if not atoms:
        raise ValueError("a prompt without questions")
    return Composition(_words(row["prompt"]), int(_field(row, "atoms", len(atoms))), atoms)


def _field(row: Mapping[str, Any], name: str, default: object = None) -> Any:
    known = next((spelling for spelling in _NAMES[name] if spelling in row), None)
    if known is None and default is None:
        raise KeyError(_NAMES[name][0])
    return row[known] if known else default


def _listed(value: object) -> list[Any]:
    found = parse_json(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise TypeError(f"{found!r} is not a list")
    return found


def _words(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{value!r} is not a text")
    return checked_text(value).strip()


def matched(compositions: Sequence[Composition], images: Path) -> list[Sample]:
    """The picture of each prompt.

    Either the first sample in a folder with GenEval's layout, or from a JSON file {prompt: path},
    the official program's input.
    """
    files_by_prompt = _listed_pictures(images) if images.is_file() else _laid_out(images)
    missing = [c.prompt for c in compositions if c.prompt not in files_by_prompt]
    if missing:
        raise InputError(
            f"{images} has no picture of {len(missing)} of {len(compositions)} prompts, such as "
            f"{missing[0]!r:.80}. Paint them with --generate, or give only the data of the others."
        )
    return [
        Sample(index, files_by_prompt[composition.prompt], asdict(composition))
        for index, composition in enumerate(compositions)
    ]


def _laid_out(folder: Path) -> dict[str, Path]:
    return {str(s.metadata["prompt"]): s.file for s in reversed(samples_in(folder))}


def _listed_pictures(file: Path) -> dict[str, Path]:
    try:
        found = {str(prompt): file.parent / path for prompt, path in _object(file).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} is not a list of pictures ({error}). "
            'Give JSON such as {"a red cup": "1.png"}.'
        ) from error
    if missing := [path for path in found.values() if not path.is_file()]:
        raise InputError(f"{file} names {missing[0]}, which does not exist. Check its paths.")
    return found


def _object(file: Path) -> dict[str, str]:
    with files.reading(file):
        return parse_json(file.read_bytes())
