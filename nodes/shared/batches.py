"""Many pictures, and texts that are given once for all of them or once for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from PIL import Image
from torch import Tensor

from ...reflectionflow_core.archive.lines import pixel_digest
from ...reflectionflow_core.record import Candidate, InputError, Verdict
from ...reflectionflow_core.search import complete
from ..comfy.tensors import to_pictures
from .sockets import Judged

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
    judged: Sequence[tuple[Judged, ...]] | None,
    reflections: Sequence[str] | None = None,
) -> list[Candidate]:
    """The pictures with what is known of them, as the core's actors want to see them."""
    pictures = to_pictures(images)
    known = zip(
        pictures,
        for_each(prompts, len(pictures), "prompt"),
        verdicts_of(pictures, judged),
        for_each(reflections or [""], len(pictures), "reflection"),
        strict=True,
    )
    return [
        Candidate(picture, prompt, seed=0, verdict=verdict, reflection=reflection)
        for picture, prompt, verdict, reflection in known
    ]


def verdicts_of(
    pictures: Sequence[Image.Image], judged: Sequence[tuple[Judged, ...]] | None
) -> list[Verdict]:
    """Each picture's own verdict; a neutral one where nobody judged."""
    if judged is None:
        return [Verdict(0.0)] * len(pictures)
    flat = [one for several in judged for one in several]
    if [one.picture for one in flat] != list(map(pixel_digest, pictures)):
        raise InputError(
            "The verdicts are about other pictures than these, or in another order. "
            "Wire images and verdicts from the same Verifier Score."
        )
    return [one.verdict for one in flat]
