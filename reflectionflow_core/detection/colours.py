"""The colour of an object, by CLIP, among GenEval's ten colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from ..pictures import to_rgb
from ..verifiers.clip_score import ClipVerifier, load_clip_score
from .rules import Detection
from .words import COLOURS

GREY = "#999999"  # fills the area outside a mask
_TEXTS = ("a photo of a {} {}", "a photo of a {}-colored {}", "a photo of a {} object")


class ColourReader(Protocol):
    """Tells which of GenEval's colours each object has."""

    def colours(self, image: Image.Image, things: Sequence[Detection]) -> list[str]: ...


def load_colours(source: str | Path, **options: Any) -> ClipColours:
    """A reader with the CLIP in a folder (`load_clip_score`); GenEval uses a ViT-L/14."""
    return ClipColours(load_clip_score(source, **options))


class ClipColours:
    """Zero-shot classification by GenEval's protocol.

    Compares the crop of each object, grey outside its mask, with the mean of three texts per
    colour.
    """

    def __init__(self, clip: ClipVerifier) -> None:
        self.clip = clip
        self._texts: dict[str, Tensor] = {}

    def colours(self, image: Image.Image, things: Sequence[Detection]) -> list[str]:
        return [self._colour(cut_out(image, thing), thing.name) for thing in things]

    def _colour(self, picture: Image.Image, name: str) -> str:
        clip, device = self.clip, self.clip.placement.device
        with torch.no_grad(), clip.placement.on_device(clip.model):
            if name not in self._texts:
                self._texts[name] = self._read(name)
            pixels = clip.image_processor(images=picture, return_tensors="pt")["pixel_values"]
            seen = clip.model.vision_model(pixel_values=pixels.to(device, clip.model.dtype))
            features = clip.model.visual_projection(seen.pooler_output)[0].float()
            return COLOURS[int((self._texts[name] @ features).argmax())]

    def _read(self, name: str) -> Tensor:
        """A direction per colour, (colours, features)."""
        texts = [text.format(colour, name) for colour in COLOURS for text in _TEXTS]
        clip, device = self.clip, self.clip.placement.device
        given: Mapping[str, Tensor] = clip.tokenizer(texts, padding=True, return_tensors="pt")
        names = ("input_ids", "attention_mask")
        read = clip.model.text_model(**{key: given[key].to(device) for key in names})
        features = _unit(clip.model.text_projection(read.pooler_output).float())
        return _unit(features.view(len(COLOURS), len(_TEXTS), -1).mean(1))


def cut_out(image: Image.Image, thing: Detection) -> Image.Image:
    """The crop of the object's box, at least one pixel."""
    picture = to_rgb(image)
    if thing.mask is not None:
        grey = Image.new("RGB", picture.size, GREY)
        picture = Image.composite(picture, grey, Image.fromarray(thing.mask))
    left, top, right, bottom = map(round, thing.box)
    left, top = min(max(left, 0), picture.width - 1), min(max(top, 0), picture.height - 1)
    right, bottom = min(right, picture.width), min(bottom, picture.height)
    return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
