"""Paints the candidates of a slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from reflectionflow_core.pictures import to_rgb
from reflectionflow_core.protocols import Painter
from reflectionflow_core.record import Request
from reflectionflow_core.registry import ActorChoice, build_actors, choice_of
from reflectionflow_core.settings import SearchSettings
from train.data.records import Item, PaintedPicture, Slice, seed_of
from train.data.settings import SYNTHETIC, PainterSettings
from train.data.synthetic import SyntheticGenerator
from train.triplets import encoded

Wishes = Callable[[Item], Sequence[str]]  # the prompts of an item's pictures


def painter_choice(settings: PainterSettings) -> ActorChoice:
    names = ("model", "size", "steps", "guidance", "dtype", "device", "plan")
    return choice_of({name: getattr(settings, name) for name in names})


def build_generator(settings: PainterSettings) -> Painter:
    if settings.model == SYNTHETIC:
        return SyntheticGenerator()
    only_drafts = SearchSettings(depth=0)
    return build_actors(painter_choice(settings), only_drafts).generator


def build_painting(
    settings: PainterSettings, wishes: Wishes, seed: int, image_format: str
) -> PaintStage:
    return PaintStage(build_generator(settings), wishes, settings.batch, seed, image_format)


class PaintStage:
    """Stage: all pictures of a slice, in batches that depend only on the slice.

    A picture's seed is derived from the run's seed, its prompt and its position.
    """

    def __init__(
        self, generator: Painter, wishes: Wishes, batch: int, seed: int, image_format: str
    ) -> None:
        self.generator, self.wishes, self.batch = generator, wishes, batch
        self.seed, self.image_format = seed, image_format

    def __call__(self, work: Slice) -> Slice:
        wishes = [list(self.wishes(item)) for item in work.items]
        asked = [
            (prompt, seed_of(self.seed, prompt, wished[:position].count(prompt)))
            for wished in wishes
            for position, prompt in enumerate(wished)
        ]
        painted = iter(self._painted(asked))
        pictures = tuple(tuple(islice(painted, len(wished))) for wished in wishes)
        counts = {**work.counts, "pictures": work.counts.get("pictures", 0) + len(asked)}
        return replace(work, pictures=pictures, counts=counts)

    def _painted(self, asked: list[tuple[str, int]]) -> list[PaintedPicture]:
        painted: list[PaintedPicture] = []
        for start in range(0, len(asked), self.batch):
            batch = asked[start : start + self.batch]
            images = self.generator.paint([Request(seed, prompt) for prompt, seed in batch])
            painted += [
                PaintedPicture(encoded(to_rgb(image), self.image_format), prompt, seed)
                for image, (prompt, seed) in zip(images, batch, strict=True)
            ]
        return painted
