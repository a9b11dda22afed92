"""Several questions about one picture in one pass of ComfyUI's text generation.

ComfyUI extends a picture's keys and values one token at a time, which is too slow for questions. So
all of them follow the picture in one sequence: each attends to the picture and to itself, at the
positions that it would have alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from .chat import is_picture, same, writers

NEEDED = {"embeds", "attention_mask", "position_ids", "past_key_values"}


@dataclass(frozen=True, slots=True)
class Pack:
    """Texts with a common beginning: their entries in one row, and the length of each rest."""

    tokens: dict[str, list[list[Any]]]
    rests: list[int]


class _TooWideError(Exception):
    """A layer's window is narrower than the pack."""


def writer_of(clip: Any) -> Any:
    """The part of a CLIP that writes, where its questions can be packed, or else None.

    Packs are for ComfyUI's usual transformer. Qwen3.5's layers with a running state read whatever
    stands before, and Gemma 4's have masks of their own.
    """
    found = writers(clip)
    usual = [w for w in found if type(w.model).__name__ == "Llama2_" and hasattr(w, "logits")]
    if len(found) != 1 or not usual:
        return None
    known = inspect.signature(usual[0].model.forward).parameters.keys()
    return usual[0] if known >= NEEDED else None


def packed(texts: Sequence[Any]) -> Pack | None:
    """All texts after their common beginning; None if that contains no picture.

    `texts` are what ComfyUI's tokenizers made: rows of (token or table of a picture, ...) by name.
    """
    if not all(isinstance(text, dict) and len(text) == 1 for text in texts):
        return None
    (name,) = texts[0]
    if any(len(text.get(name, ())) != 1 for text in texts):
        return None
    rows = [text[name][0] for text in texts]
    last = min(map(len, rows)) - 1  # each keeps a token of its own
    alike = (all(same(row[i], rows[0][i]) for row in rows) for i in range(last))
    shared = next((i for i, equal in enumerate(alike) if not equal), last)
    rests = [row[shared:] for row in rows]
    if not any(map(is_picture, rows[0][:shared])) or any(map(is_picture, chain(*rests))):
        return None
    return Pack({name: [[*rows[0][:shared], *chain(*rests)]]}, [len(rest) for rest in rests])


def first_logits(clip: Any, writer: Any, pack: Pack) -> list[Tensor] | None:
    """Logits (vocabulary,) after each text of a pack; None if a layer's window is too narrow."""
    found: list[Tensor] = []
    model, forward = writer.model, writer.model.forward

    def once(*args: Any, **inputs: Any) -> Any:
        cache, length = inputs.pop("past_key_values"), inputs["embeds"].shape[1]
        if length > narrowest(model.config):
            raise _TooWideError
        at = layout(pack.rests, length, inputs.pop("position_ids", None))
        device = inputs["embeds"].device
        inputs |= {"attention_mask": at.mask.to(device), "position_ids": at.positions.to(device)}
        hidden = forward(*args, **inputs, past_key_values=None)[0]
        for end in at.ends:
            found.append(writer.logits(hidden[:, : end + 1])[0, -1].detach().cpu().double())
        return hidden, None, cache

    model.forward = once
    try:
        clip.generate(pack.tokens, max_length=1, do_sample=False)
    except _TooWideError:
        return None
    finally:
        del model.forward
    return found


@dataclass(frozen=True, slots=True)
class PackLayout:
    """Where a pack's tokens stand and what they see: `mask` (1, tokens, tokens) is 1 where a token
    may look, before causality; `positions` (1 or 3, tokens); `ends` are the texts' last tokens."""

    mask: Tensor
    positions: Tensor
    ends: list[int]


def layout(rests: Sequence[int], length: int, positions: Tensor | None) -> PackLayout:
    """The layout of `length` tokens, the last of which are the rests of texts; `positions` are
    those of the texts in one row, where pictures move them."""
    shared = length - sum(rests)
    if positions is None:
        positions = torch.arange(length)[None]
    positions = positions.clone()
    mask = torch.ones(1, length, length)
    following, ends, start = positions[:, shared].max(), [], shared
    for rest in rests:
        mask[:, start : start + rest, shared:start] = 0
        steps = torch.arange(rest, device=positions.device)
        positions[:, start : start + rest] = following + steps
        start += rest
        ends.append(start - 1)
    return PackLayout(mask, positions, ends)


def narrowest(config: Any) -> float:
    """The narrowest window of a model's layers, in tokens."""
    windows = [width for width in getattr(config, "sliding_attention", None) or () if width]
    return min(windows, default=float("inf"))
