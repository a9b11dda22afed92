"""Many pictures, and texts that are given once for all of them or once for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from ..reflectionflow_core.record import Candidate, InputError, Verdict
from ..reflectionflow_core.search import complete
from .tensors import to_pictures

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def parts(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def for_each(given: Sequence[Item], count: int, name: str) -> list[Item]:
    """One of each for every picture; a single one is for all of them."""
    if len(given) == count:
        return list(given)
    if len(given) == 1:
        return list(given) * count
    raise InputError(
        f"There are {len(given)} {name}s for {count} pictures. Give one for all, or one for each."
    )


def ask_by_prompt(
    ask: Callable[[str, list[Item]], list[Answer]],
    prompts: Sequence[str],
    items: Sequence[Item],
    phase: str,
) -> list[Answer]:
    """One answer an item, in order; an actor hears of one prompt at a time."""
    answers: dict[int, Answer] = {}
    for prompt in dict.fromkeys(prompts):
        places = [place for place, its in enumerate(prompts) if its == prompt]
        found = complete(ask(prompt, [items[place] for place in places]), len(places), phase)
        answers.update(zip(places, found, strict=True))
    return [answers[place] for place in range(len(items))]


def as_candidates(
    images: Sequence[Tensor],
    prompts: Sequence[str],
    verdicts: Sequence[tuple[Verdict, ...]] | None,
    reflections: Sequence[str] | None = None,
) -> list[Candidate]:
    """The pictures with what is known of them, as the core's actors want to see them."""
    pictures = to_pictures(images)
    judged = [verdict for several in verdicts or [(Verdict(0.0),)] for verdict in several]
    known = zip(
        pictures,
        for_each(prompts, len(pictures), "prompt"),
        for_each(judged, len(pictures), "verdict"),
        for_each(reflections or [""], len(pictures), "reflection"),
        strict=True,
    )
    return [
        Candidate(picture, prompt, seed=0, verdict=verdict, reflection=reflection)
        for picture, prompt, verdict, reflection in known
    ]
