"""Corrections of pictures that belong to no search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from ...reflectionflow_core.protocols import Painter, Progress
from ...reflectionflow_core.record import InputError, Region, Request, Verdict
from ...reflectionflow_core.regions import region_of
from ...reflectionflow_core.search import complete
from ...reflectionflow_core.settings import RECOMMENDED
from .batches import parts
from .sockets import FluxHandle


def corrector_of(flux: FluxHandle) -> Painter:
    """Who corrects; raises InputError if this FLUX has nobody."""
    if (corrector := flux.corrector) is None:
        raise InputError(
            "This FLUX has no corrector. Put Load Corrector before FLUX from MODEL, or a Corrector "
            "LoRA Loader behind FLUX Loader."
        )
    return corrector


def corrections(
    pictures: Sequence[Image.Image],
    prompts: Sequence[str],
    reflections: Sequence[str],
    seeds: Sequence[int],
    regions: Sequence[Region | None],
) -> list[Request]:
    """The requests to correct pictures, each with noise of its own and in its region only."""
    requests = map(Request.correcting, pictures, prompts, reflections, seeds)
    placed = zip(requests, regions, strict=True)
    return [replace(request, region=region) for request, region in placed]


def places_of_faults(verdicts: Sequence[Verdict]) -> list[Region | None]:
    """Where pictures with these verdicts are corrected, as in the loop; None is everywhere."""
    return [region_of(verdict, RECOMMENDED.correct) for verdict in verdicts]


def corrected(
    corrector: Painter, requests: Sequence[Request], batch_size: int, progress: Progress
) -> list[Image.Image]:
    """One corrected picture for each, whole, at the size that FLUX paints."""
    painted: list[Image.Image] = []
    for part in parts(len(requests), batch_size):
        answers = corrector.paint(requests[part], progress)
        painted += complete(answers, len(requests[part]), "correct")
    return painted


def drawn_text(asked: Sequence[int], chosen: Sequence[int]) -> str:
    """Which seeds a node drew, if it drew any."""
    if list(asked) == list(chosen):
        return ""
    numbers = ", ".join(map(str, chosen))
    return f"; the seed is {numbers}" if len(chosen) == 1 else f"; the seeds are {numbers}"
