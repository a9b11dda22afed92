"""Asking a judge again about a picture: how often that helps, and what it is shown then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..protocols import Actors, LookingAgain, Progress, Verifier
from ..record import Verdict
from ..settings import SearchSettings
from .trust import SURE, correlation_of

if TYPE_CHECKING:
    from PIL.Image import Image

MARGINS = (0.03, 0.06)  # of width and height, cut off at every side: one for each look


def most_looks(settings: SearchSettings, actors: Actors) -> int:
    """How often the verifier is asked again about one picture, at most; 0 if that is useless."""
    errors, verifier = actors.errors, actors.verifier
    if errors is None or correlation_of(errors) >= SURE:
        return 0
    known = verifier.further_looks if isinstance(verifier, LookingAgain) else len(MARGINS)
    return min(settings.looks, known)


def look_again(
    verifier: Verifier, prompt: str, images: Sequence[Image], look: int, progress: Progress
) -> list[Verdict]:
    """The verdicts at look 1, 2 ...: in the verifier's own way, or else about a crop."""
    if isinstance(verifier, LookingAgain):
        return verifier.look_again(prompt, images, look, progress)
    crops = [cropped(image, MARGINS[look - 1]) for image in images]
    return verifier.verify(prompt, crops, progress)


def cropped(image: Image, margin: float) -> Image:
    """The picture without a margin (0 to 0.5 of width and height), resized to its former size."""
    from PIL.Image import Resampling

    x, y = margin * image.width, margin * image.height
    box = (x, y, image.width - x, image.height - y)
    return image.resize(image.size, Resampling.LANCZOS, box=box)
