"""Prompts from files, without duplicates and without those of benchmarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from reflectionflow_core.detection.rules import Need, Task
from reflectionflow_core.geneval.tasks import read_task
from reflectionflow_core.miniature.evolver import nearest, spelled_out
from reflectionflow_core.miniature.prompts import FAMILIES, is_held_out, parse, prompts
from reflectionflow_core.record import InputError
from reflectionflow_core.texts import TextError, checked_text, parse_json, read_text, reason_of
from train.data.records import seed_of
from train.data.settings import SHAPES
from train.prompt_words import words
from train.triplets import MAX_TEXT

PROMPT, DETAILED = "prompt", "detailed"
_TURNED = {"right of": "left of", "below": "above"}

Meaning = tuple[Any, ...]


class Avoided:
    """Prompts of benchmarks, compared by words and, if the file gives their tasks, by meaning.

    "a cup left of a dog" is excluded if the benchmark has "a dog right of a cup". `held_out` also
    excludes the miniature's held-out prompts.
    """

    def __init__(self, files: Iterable[str], held_out: bool) -> None:
        self.held_out = held_out
        records = [record for file in files for record in read_lines(Path(file))]
        self.words = {words(record[PROMPT]) for record in records}
        tasks = (record for record in records if "include" in record)
        self.meanings = {meaning(read_task(record)) for record in tasks}

    def __contains__(self, prompt: str) -> bool:
        return words(prompt) in self.words or (self.held_out and _is_measured(prompt))

    def has(self, task: Task) -> bool:
        return meaning(task) in self.meanings


def _is_measured(prompt: str) -> bool:
    """Whether it asks, in whatever words, for something by which the miniature is measured."""
    try:
        return is_held_out(parse(prompt))
    except InputError:  # not of its world
        return False


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file: objects with a "prompt", or plain prompts."""
    try:
        lines = read_text(file.expanduser()).split("\n")
    except TextError as error:
        raise InputError(f"{file} cannot be used: {error.reason}. Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({reason_of(error)}). Give a text file in UTF-8."
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _record(line.strip(), f"Line {number} of {file}")


def _record(line: str, where: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {PROMPT: line}
    try:
        record = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error}). Correct or remove it.") from error
    texts = [record.get(name, "") for name in (PROMPT, DETAILED)]
    if not all(isinstance(text, str) for text in texts) or not any(texts):
        raise InputError(f'{where} has no prompt. Write it as {{"prompt": "..."}}.')
    return {**record, PROMPT: texts[0]}


def usable(
    records: Iterable[Mapping[str, Any]], avoided: Avoided, most: int
) -> tuple[list[Mapping[str, Any]], Counter[str]]:
    """The first `most` usable records, and counts of the excluded ones by reason."""
    kept: list[Mapping[str, Any]] = []
    rejects: Counter[str] = Counter()
    seen: set[str] = set()
    for record in records:
        if len(kept) == most:
            break
        texts = [record[name] for name in (PROMPT, DETAILED) if record.get(name)]
        known = "\n".join(map(words, texts))
        if not known.strip():
            rejects["prompt empty"] += 1
        elif not all(map(_is_usable, texts)):
            rejects["prompt not a text"] += 1
        elif any(len(text) > MAX_TEXT for text in texts):
            rejects["prompt too long"] += 1
        elif any(text in avoided for text in texts):
            rejects["prompt kept for testing"] += 1
        elif known in seen:
            rejects["prompt repeated"] += 1
        else:
            seen.add(known)
            kept.append(record)
    return kept, rejects


def _is_usable(text: str) -> bool:
    try:
        checked_text(text)
    except TextError:  # JSON can contain lone surrogates
        return False
    return True


def meaning(task: Task) -> Meaning:
    """What a task asks for, independent of wording."""
    relations = [
        _relation(need, task.include[need.target])
        for need in task.include
        if need.relation is not None and need.target is not None
    ]
    things = sorted((need.name, need.count, need.colour or "") for need in task.include)
    return tuple(things), tuple(sorted(relations))


def _relation(need: Need, other: Need) -> tuple[str, ...]:
    relation = need.relation or ""
    first, second = (other, need) if relation in _TURNED else (need, other)
    sides = [side for n in (first, second) for side in (n.name, n.colour or "")]
    return (_TURNED.get(relation, relation), *sides)


def shape_prompts(seed: int) -> list[dict[str, Any]]:
    """All training prompts of the miniature in random order; each has a layout as its long form."""
    from train.miniature.scenes import training_layout

    asked = [pair for family in FAMILIES for pair in prompts(family, held_out=False)]
    order = np.random.default_rng(seed_of(seed, SHAPES)).permutation(len(asked))
    detailed = cache(lambda spec: training_layout(nearest((), spec), spec) or spelled_out(spec))
    return [{PROMPT: asked[i][0], DETAILED: detailed(asked[i][1])} for i in order.tolist()]
