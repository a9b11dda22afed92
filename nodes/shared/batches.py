"""Batches of pictures, and texts given once for all of them or once for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from ...reflectionflow_core.archive.lines import pixel_digest
from ...reflectionflow_core.record import Candidate, InputError, Request, Verdict
from ...reflectionflow_core.report import counted
from ...reflectionflow_core.search import complete
from ..comfy.tensors import to_pictures
from .sockets import ScoredPicture

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def parts(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def for_each(given: Sequence[Item], count: int, name: str) -> list[Item]:
    """One item for each picture; a single given item is repeated for all."""
    if len(given) == count:
        return list(given)
    if len(given) == 1:
        return list(given) * count
    raise InputError(
        f"There are {len(given)} {name}s for {counted(count, 'picture')}. Give one for all, or one "
        "for each."
    )


def single(given: Sequence[Item], name: str) -> Item:
    """The one item that all pictures share; InputError for none or several different ones."""
    if not given:
        raise InputError(f"Nothing arrives at {name!r}. Check the node that is wired to it.")
    first = given[0]
    if any(one is not first and one != first for one in given[1:]):
        raise InputError(
            f"A list of {len(given)} arrives at {name!r}, which is one for all pictures. Wire one, "
            "or use a node for each."
        )
    return first


def ask_by_prompt(
    ask: Callable[[str, list[Item]], list[Answer]],
    prompts: Sequence[str],
    items: Sequence[Item],
    phase: str,
) -> list[Answer]:
    """One answer for each item, in order; the actor is asked about one prompt at a time."""
    answers: dict[int, Answer] = {}
    for prompt in dict.fromkeys(prompts):
        indices = [index for index, other in enumerate(prompts) if other == prompt]
        found = complete(ask(prompt, [items[index] for index in indices]), len(indices), phase)
        answers.update(zip(indices, found, strict=True))
    return [answers[index] for index in range(len(items))]


def as_requests(
    images: Sequence[Tensor],
    prompts: Sequence[str],
    judged: Sequence[tuple[ScoredPicture, ...]] | None,
    reflections: Sequence[str] | None = None,
) -> list[Request]:
    """A request about each picture, with its texts and verdict, for writers and evolvers."""
    pictures = to_pictures(images)
    known = zip(
        pictures,
        for_each(prompts, len(pictures), "prompt"),
        verdicts_of(pictures, judged),
        for_each(reflections or [""], len(pictures), "reflection"),
        strict=True,
    )
    return [
        Request(0, parent=Candidate(picture, prompt, 0, verdict, reflection))
        for picture, prompt, verdict, reflection in known
    ]


def verdicts_of(
    pictures: Sequence[Image.Image], judged: Sequence[tuple[ScoredPicture, ...]] | None
) -> list[Verdict]:
    """The verdict on each picture; an unjudged one if there are none.

    Raises InputError for verdicts about other pictures.
    """
    if judged is None:
        return [Verdict.unjudged("Nobody has looked at it.")] * len(pictures)
    flat = [one for several in judged for one in several]
    if [one.picture for one in flat] != list(map(pixel_digest, pictures)):
        raise InputError(
            "The verdicts are about other pictures, or in another order. Wire images and verdicts "
            "from the same Verifier Score."
        )
    return [one.verdict for one in flat]


def number_of(verdict: Verdict) -> float:
    """The score for a FLOAT output: not a number where the picture could not be judged."""
    return math.nan if verdict.score is None else verdict.score


def as_line(index: int, verdict: Verdict) -> dict[str, Any]:
    return {
        "index": index,
        "score": verdict.score,
        "passed": verdict.passed,
        "unmet": list(verdict.unmet),
        "aspects": dict(verdict.aspects),
        "explanation": verdict.explanation,
        **({"evidence": list(map(asdict, verdict.evidence))} if verdict.evidence else {}),
    }
