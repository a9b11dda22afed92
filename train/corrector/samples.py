"""Samples for a training step: read from shards in any thread, encoded on FLUX's device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import torch
from PIL.Image import Image as Picture
from torch import Tensor

from reflectionflow_core.flux.condition import to_pixels
from reflectionflow_core.flux.latents import pack
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.text import Text, corrector_text, encode_texts
from train.corrector.pairs import Size, black, buckets, nearest, prepared
from train.corrector.settings import Views
from train.triplets import SUBSETS, SampleError, Triplets

SHORTEST = 5  # shortest useful reflection in characters
AT_ONCE = 1024 * 1024  # pixels per VAE call
TRIES = 50  # samples searched for another reflection
Label = tuple[str, Size]  # subset and bucket


@dataclass(frozen=True, slots=True)
class Dropped:
    """What is hidden from a sample (`text`: T5 gets no text) or exchanged."""

    text: bool = False
    reflection: bool = False
    image: bool = False
    prompt: bool = False  # T5 gets the reflection only, CLIP no text
    shuffled: bool = False  # replaced by another sample's reflection


WHOLE = Dropped()


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """The input of a training step: B samples of one size."""

    keys: tuple[str, ...]
    target: Tensor  # (B, n_img, 64), packed and clean
    grid: tuple[int, int]  # rows and columns of its tokens
    condition: Tensor  # (B, n_cond, 64)
    condition_grid: tuple[int, int]
    text: Tensor  # (B, n_txt, d), from T5
    pooled: Tensor  # (B, d), from CLIP
    shown: Tensor  # (B,), whether the condition is the flawed picture


class BatchSource(Protocol):
    """A source of samples.

    `groups` (n,) are equal for siblings, which have the same flawed picture; `prompts` (n,) for
    samples of one prompt (0: unknown).
    """

    @property
    def labels(self) -> Sequence[Label]: ...

    @property
    def groups(self) -> np.ndarray: ...

    @property
    def prompts(self) -> np.ndarray: ...

    def key(self, index: int) -> str: ...

    def words(self, index: int) -> tuple[str, str]:
        """A sample's prompt and reflection; "" if unknown."""
        ...

    def read(self, index: int, drop: Dropped, rng: np.random.Generator) -> Any:
        """A sample as stored, in any thread; raises SampleError."""
        ...

    def batch(self, rows: Sequence[Any]) -> TrainingBatch:
        """These samples on FLUX's device."""
        ...


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A sample that is read but not yet encoded."""

    key: str
    target: Picture
    condition: Picture
    text: Text
    shown: bool


class Shards:
    """Samples from pictures and texts, encoded when they are used."""

    def __init__(self, flux: Flux, triplets: Triplets, views: Views) -> None:
        self.flux, self.triplets, self.views = flux, triplets, views
        self.sizes = buckets(views.target_size, views.max_aspect, flux.token_pixels)
        known: dict[Label, Label] = {}  # interned: a million samples share a few labels
        labels = zip(triplets.entries.subsets.tolist(), self._buckets(), strict=True)
        labels = ((SUBSETS[subset], bucket) for subset, bucket in labels)
        self.labels = [known.setdefault(label, label) for label in labels]
        self.groups, self.prompts = triplets.entries.groups(), triplets.entries.prompts

    def _buckets(self) -> Iterator[Size]:
        """The bucket of each sample; any for unreadable ones, which are replaced when drawn."""
        if len(self.sizes) == 1:
            return repeat(self.sizes[0], len(self.triplets))
        widths, heights = self.triplets.entries.sizes()
        both, place = np.unique(widths.astype(np.uint64) << 32 | heights, return_inverse=True)
        fitting = [
            nearest((n >> 32, n & 0xFFFFFFFF), self.sizes) if n else self.sizes[0]
            for n in both.tolist()
        ]
        return (fitting[number] for number in place.tolist())

    def read(self, index: int, drop: Dropped, rng: np.random.Generator) -> SampleRow:
        triplet, (_, bucket) = self.triplets[index], self.labels[index]
        settings = self.views.condition
        target, condition = prepared(triplet.good, triplet.bad, bucket, settings, rng)
        if drop.image:
            condition = black(settings, bucket)
        reflection = self.another(index) if drop.shuffled else triplet.reflection
        text = self.text(triplet.prompt, reflection, drop)
        return SampleRow(triplet.key, target, condition, text, not drop.image)

    def text(self, prompt: str, reflection: str, drop: Dropped) -> Text:
        """The texts for a sample's text encoders."""
        return text_of(prompt, reflection, drop)

    def key(self, index: int) -> str:
        return self.triplets.entries[index].key

    def words(self, index: int) -> tuple[str, str]:
        return self.triplets.prompt(index), self.triplets.reflection(index)

    def another(self, index: int) -> str:
        """The reflection of the next sample with a different one; raises SampleError."""
        return another_reflection(self.triplets.reflection, index, len(self.triplets))

    def batch(self, rows: Sequence[SampleRow]) -> TrainingBatch:
        return encoded_batch(self.flux, rows, self.views.text_length)


def encoded_batch(flux: Flux, rows: Sequence[SampleRow], text_length: int) -> TrainingBatch:
    """Encodes samples of one size on FLUX's device; T5 gets `text_length` tokens."""
    unit = flux.token_pixels
    text, pooled = encode_texts(flux, [row.text for row in rows], text_length)
    grids = [
        (picture.height // unit, picture.width // unit)
        for picture in (rows[0].target, rows[0].condition)
    ]
    return TrainingBatch(
        keys=tuple(row.key for row in rows),
        target=encoded(flux, [row.target for row in rows]),
        grid=grids[0],
        condition=encoded(flux, [row.condition for row in rows]),
        condition_grid=grids[1],
        text=text,
        pooled=pooled,
        shown=torch.tensor([row.shown for row in rows], device=flux.device),
    )


def another_reflection(reflection: Callable[[int], str], index: int, of: int) -> str:
    """The first different reflection after sample `index`.

    Raises SampleError if none of the next TRIES samples has one.
    """
    own = reflection(index)
    for step in range(1, min(of, TRIES)):
        found = reflection((index + step) % of)
        if found != own and len(found.strip()) >= SHORTEST:
            return found
    raise SampleError("no other reflection")


def text_of(prompt: str, reflection: str, drop: Dropped) -> Text:
    """The texts for CLIP (the prompt) and T5 (the prompt and the reflection, if any)."""
    says_nothing = drop.reflection or len(reflection.strip()) < SHORTEST
    text = corrector_text("" if drop.prompt else prompt, "" if says_nothing else reflection)
    return text._replace(t5="") if drop.text else text


@torch.no_grad()
def encoded(flux: Flux, pictures: Sequence[Picture]) -> Tensor:
    """Packed latents (B, n, 64) of pictures of one size."""
    at_once = max(1, AT_ONCE // (pictures[0].width * pictures[0].height))
    parts = [pictures[i : i + at_once] for i in range(0, len(pictures), at_once)]
    return torch.cat([pack(flux.encode(to_pixels(part))) for part in parts])
