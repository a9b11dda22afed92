"""The texts for FLUX's two text encoders, and their encodings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..settings import check_choice
from .model import Flux


class Text(NamedTuple):
    clip: str
    t5: str


def training_text(prompt: str, reflection: str) -> Text:
    """As in the corrector's training: only T5 gets the reflection."""
    return Text(prompt, f"{prompt} [Reflexion] {reflection}" if reflection else prompt)


def upstream_text(prompt: str, reflection: str) -> Text:
    """As in the paper's search script, for comparison: with a colon, and also for CLIP."""
    both = f"{prompt} [Reflexion]: {reflection}" if reflection else prompt
    return Text(both, both)


STYLES: dict[str, Callable[[str, str], Text]] = {
    "training": training_text,
    "upstream": upstream_text,
}


def corrector_text(prompt: str, reflection: str, style: str = "training") -> Text:
    """Prompt and reflection in one of PROMPT_STYLES; InputError for an unknown style."""
    check_choice("prompt style", style, STYLES)
    return STYLES[style](prompt, reflection.strip())


@torch.no_grad()
def encode_texts(
    flux: Flux, texts: Sequence[Text], max_sequence_length: int = 512
) -> tuple[Tensor, Tensor]:
    """T5 states (B, n, d) and pooled CLIP vectors (B, d), on FLUX's device.

    n is `max_sequence_length`, or the limit of T5's tokenizer if that is less. Texts are encoded
    one by one, so that an encoding does not depend on its batch.
    """
    length = min(max_sequence_length, flux.t5_tokenizer.model_max_length)
    states = [_t5(flux, text.t5, length) for text in texts]
    pooled = [_clip(flux, text.clip) for text in texts]
    return _batch(flux, states), _batch(flux, pooled)


def _batch(flux: Flux, rows: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(rows)).to(flux.device, flux.dtype)


def _t5(flux: Flux, text: str, length: int) -> Tensor:
    def encode() -> Tensor:
        # Only for T5: CLIP always gets 77 tokens, and T5 the whole text.
        warn_if_cut(flux.t5_tokenizer, text, length, "T5")
        tokens = flux.t5_tokenizer(
            text, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        with flux.placement.on_device(flux.t5):
            return flux.t5(tokens.input_ids.to(flux.device))[0].cpu()

    return flux.texts.get(("t5", text, length), encode)


def _clip(flux: Flux, text: str) -> Tensor:
    def encode() -> Tensor:
        tokens = flux.clip_tokenizer(
            text,
            padding="max_length",
            max_length=flux.clip_tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with flux.placement.on_device(flux.clip):
            return flux.clip(tokens.input_ids.to(flux.device)).pooler_output.cpu()

    return flux.texts.get(("clip", text), encode)


def warn_if_cut(tokenizer: Any, text: str, length: int, reader: str) -> None:
    """Warns if a text has more than `length` tokens, the limit of the `reader`."""
    count = len(tokenizer(text, verbose=False).input_ids)
    if count > length:
        warnings.warn(
            f"The text is {count} tokens long, but {reader} takes {length}: the last "
            f"{count - length} are cut off. Shorten the prompt or the reflection.",
            stacklevel=2,
        )
