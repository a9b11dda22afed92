"""Requests for tests that ask a painter, a writer or an evolver without a search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PIL.Image import Image

from reflectionflow_core.record import Candidate, Request, Restart, Seed, Verdict


def drafts(prompts: Iterable[str], seeds: Iterable[Seed]) -> list[Request]:
    return [Request(seed, prompt) for prompt, seed in zip(prompts, seeds, strict=True)]


def corrections(
    images: Iterable[Image],
    prompts: Iterable[str],
    reflections: Iterable[str],
    seeds: Iterable[Seed],
) -> list[Request]:
    asked = zip(images, prompts, reflections, seeds, strict=True)
    return [Request.correcting(*each) for each in asked]


def restarts(
    images: Iterable[Image], prompts: Iterable[str], seeds: Iterable[Restart]
) -> list[Request]:
    return [
        Request(seed, prompt, Candidate(image, prompt, 0, Verdict(0.0)))
        for image, prompt, seed in zip(images, prompts, seeds, strict=True)
    ]


def about(candidates: Iterable[Candidate], *context: Candidate) -> list[Request]:
    """What writers and evolvers are asked: a correction of each candidate."""
    return [Request(0, "", each, corrects=True, context=context) for each in candidates]


def pictures(requests: Sequence[Request]) -> list[Image]:
    return [request.required_parent.image for request in requests]
