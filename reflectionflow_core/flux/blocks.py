"""FLUX's two kinds of block, over text, image and condition tokens, with the corrector's LoRA.

Each block has two variants. Joint: all given tokens attend to each other and to cached keys and
values of a condition. Alone: a condition's tokens attend only to themselves, and their keys and
values are returned for the cache. branch.py runs a whole model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor
from torch.nn.functional import silu

from .lora import LoraLayer

Rotary = tuple[Tensor, Tensor]  # cosines and sines, (tokens, head width) each
Spans = tuple[Tensor, ...]  # text, image and, if any, condition: (B, n, D) each
Adapters = Mapping[str, LoraLayer]  # LoRA layers of one block, by their path in it
Block = Any  # a FLUX block or a part of it; nn.Module hides the types of submodules
KeysValues = tuple[Tensor, ...]  # a condition's rotated keys and its values, or ()


def double(
    block: Block,
    spans: Spans,
    time: Tensor,
    own: Spans,
    rotary: Rotary,
    adapters: Adapters,
    lora_on_all: bool,
    cached: KeysValues,
) -> Spans:
    """A double block: text has its own weights; the condition shares the image's.

    `own` is the condition's modulation; with `lora_on_all` the LoRA is also applied to the image.
    """
    text, *pictures = spans
    text_scales = [modulation(block.norm1_context, time)]
    scales = [modulation(block.norm1, time, adapters.get("norm1.linear") if lora_on_all else None)]
    scales += own
    start = 0 if lora_on_all else pictures[0].shape[1]

    tokens = _modulated(block.norm1.norm, pictures, scales, 0)
    text_tokens = _modulated(block.norm1_context.norm, [text], text_scales, 0)
    heads = map(
        _joined, _text_heads(block.attn, text_tokens), _heads(block.attn, tokens, start, adapters)
    )
    attended = _attend(block.attn, _rotated(heads, rotary), cached)
    text_tokens, tokens = attended.split([text.shape[1], tokens.shape[1]], dim=1)
    pictures = _after_attention(block, pictures, scales, tokens, start, adapters)
    (text,) = _gated([text], text_scales, 2, block.attn.to_add_out(text_tokens))
    text_tokens = block.ff_context(_modulated(block.norm2_context, [text], text_scales, 3))
    (text,) = _gated([text], text_scales, 5, text_tokens)
    return (text, *pictures)


def single(
    block: Block,
    spans: Spans,
    time: Tensor,
    own: Spans,
    rotary: Rotary,
    adapters: Adapters,
    lora_on_all: bool,
    cached: KeysValues,
) -> Spans:
    """A single block: all tokens share the weights; attention and feed-forward are parallel."""
    main = modulation(block.norm, time, adapters.get("norm.linear") if lora_on_all else None)
    scales = [main, main, *own]
    start = 0 if lora_on_all else spans[0].shape[1] + spans[1].shape[1]
    tokens = _modulated(block.norm.norm, spans, scales, 0)
    heads = _rotated(_heads(block.attn, tokens, start, adapters), rotary)
    attended = _attend(block.attn, heads, cached)
    return _feed_forward(block, spans, scales, tokens, attended, start, adapters)


def double_alone(
    block: Block, tokens: Tensor, time: Tensor, rotary: Rotary, adapters: Adapters
) -> Spans:
    """The condition's tokens after the block, and their keys and values."""
    scales = [modulation(block.norm1, time, adapters.get("norm1.linear"))]
    moved = _modulated(block.norm1.norm, [tokens], scales, 0)
    heads = _rotated(_heads(block.attn, moved, 0, adapters), rotary)
    attended = _attend(block.attn, heads)
    (tokens,) = _after_attention(block, [tokens], scales, attended, 0, adapters)
    return (tokens, *heads[1:])


def single_alone(
    block: Block, tokens: Tensor, time: Tensor, rotary: Rotary, adapters: Adapters
) -> Spans:
    """`double_alone` for a single block."""
    scales = [modulation(block.norm, time, adapters.get("norm.linear"))]
    moved = _modulated(block.norm.norm, [tokens], scales, 0)
    heads = _rotated(_heads(block.attn, moved, 0, adapters), rotary)
    attended = _attend(block.attn, heads)
    (tokens,) = _feed_forward(block, (tokens,), scales, moved, attended, 0, adapters)
    return (tokens, *heads[1:])


def modulation(norm: Block, time: Tensor, adapter: LoraLayer | None = None) -> Tensor:
    """Shift, scale and gate of attention, then (double blocks) of feed-forward: (B, 6 or 3, D)."""
    time = silu(time)
    values = norm.linear(time) if adapter is None else norm.linear(time) + adapter(time)
    return values.unflatten(1, (-1, time.shape[1]))


def adapted(module: Block, tokens: Tensor, start: int, adapter: LoraLayer | None) -> Tensor:
    """One matrix product for all tokens; the LoRA is added from token `start` on."""
    result = module(tokens)
    if adapter is not None:
        # Not `+=`: assigning a frozen layer's result back into itself breaks autograd.
        result[:, start:].add_(adapter(tokens[:, start:]))
    return result


def _after_attention(
    block: Block,
    pictures: Sequence[Tensor],
    scales: Sequence[Tensor],
    attended: Tensor,
    start: int,
    adapters: Adapters,
) -> list[Tensor]:
    """The rest of a double block for image and condition."""
    tokens = adapted(block.attn.to_out[0], attended, start, adapters.get("attn.to_out.0"))
    pictures = _gated(pictures, scales, 2, tokens)
    tokens = block.ff.net[0](_modulated(block.norm2, pictures, scales, 3))
    tokens = adapted(block.ff.net[2], tokens, start, adapters.get("ff.net.2"))
    return _gated(pictures, scales, 5, tokens)


def _feed_forward(
    block: Block,
    spans: Spans,
    scales: Sequence[Tensor],
    tokens: Tensor,
    attended: Tensor,
    start: int,
    adapters: Adapters,
) -> Spans:
    """The rest of a single block."""
    hidden = block.act_mlp(adapted(block.proj_mlp, tokens, start, adapters.get("proj_mlp")))
    joined = torch.cat([attended, hidden], dim=2)
    tokens = adapted(block.proj_out, joined, start, adapters.get("proj_out"))
    return tuple(_gated(spans, scales, 2, tokens))


def _modulated(norm: Block, spans: Iterable[Tensor], scales: Iterable[Tensor], at: int) -> Tensor:
    """All spans joined, each normalised and modulated by rows `at` and `at` + 1 of its scales."""
    parts = [
        norm(span) * (1 + scale[:, at + 1 : at + 2]) + scale[:, at : at + 1]
        for span, scale in zip(spans, scales, strict=True)
    ]
    return _joined(*parts)


def _gated(
    spans: Sequence[Tensor], scales: Iterable[Tensor], at: int, update: Tensor
) -> list[Tensor]:
    """Each span plus its part of `update`, weighted by row `at` of its scales."""
    parts = update.split([span.shape[1] for span in spans], dim=1)
    return [
        span + scale[:, at : at + 1] * part
        for span, scale, part in zip(spans, scales, parts, strict=True)
    ]


def _joined(*parts: Tensor) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _heads(attn: Block, tokens: Tensor, start: int, adapters: Adapters) -> tuple[Tensor, ...]:
    """Query, key and value, (B, n, heads, width) each."""
    query = adapted(attn.to_q, tokens, start, adapters.get("attn.to_q"))
    key = adapted(attn.to_k, tokens, start, adapters.get("attn.to_k"))
    value = adapted(attn.to_v, tokens, start, adapters.get("attn.to_v"))
    query, key, value = (x.unflatten(-1, (-1, attn.head_dim)) for x in (query, key, value))
    return attn.norm_q(query), attn.norm_k(key), value


def _text_heads(attn: Block, text: Tensor) -> tuple[Tensor, ...]:
    """`_heads` with the text weights of a double block."""
    projections = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
    query, key, value = (linear(text).unflatten(-1, (-1, attn.head_dim)) for linear in projections)
    return attn.norm_added_q(query), attn.norm_added_k(key), value


def _attend(attn: Block, heads: tuple[Tensor, ...], cached: KeysValues = ()) -> Tensor:
    """Attention to all keys and the `cached` ones, with the model's backend: (B, n, D)."""
    query, key, value = heads
    if cached:
        key, value = (torch.cat(pair, dim=1) for pair in zip((key, value), cached, strict=True))
    attended = dispatch_attention_fn(query, key, value, backend=attn.processor._attention_backend)
    return attended.flatten(2, 3).to(query.dtype)


def _rotated(heads: Iterable[Tensor], rotary: Rotary) -> tuple[Tensor, ...]:
    """Query and key rotated by their tokens' positions, and the value."""
    query, key, value = heads
    return _rotate(query, rotary), _rotate(key, rotary), value


def _rotate(heads: Tensor, rotary: Rotary) -> Tensor:
    """Each pair of numbers rotated by its token's angle, in float32."""
    cosines, sines = (part[:, None] for part in rotary)  # (n, 1, width)
    even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)
    swapped = torch.stack([-odd, even], dim=-1).flatten(-2)
    return (heads.float() * cosines + swapped.float() * sines).to(heads.dtype)
