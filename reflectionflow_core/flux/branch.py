"""One step of FLUX with a condition branch, over an unmodified FluxTransformer2DModel.

Tokens stand in the order text, image, condition, and every block attends over all of them. The
condition tokens have a time of their own (t = 0, guidance 1), and only they see the corrector's
LoRA. Without a condition this is the stock forward. Gradients flow, so training uses it too.

It knows no schedule, prompt, picture or file. Not covered: IP-adapters, ControlNet residuals,
fp16 clipping, tensor and context parallelism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.utils.checkpoint import checkpoint

from .lora import CorrectorLora, LoraLayer

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

Rotary = tuple[Tensor, Tensor]  # cosines and sines, each (tokens, head width)
Spans = tuple[Tensor, ...]  # text, image and, where there is one, condition: (B, n, D) each
Adapters = Mapping[str, LoraLayer]  # of one block, by the path inside it
# Hands out blocks one after the other; a placement may fetch the next one's weights meanwhile.
Walk = Callable[[Iterable[nn.Module]], Iterable[nn.Module]]
Block = Any  # a FLUX block or a part of one; nn.Module hides the types of its submodules


@dataclass(frozen=True, slots=True)
class FluxInputs:
    """What one step needs; B samples, each with its own prompt, picture and noise."""

    latents: Tensor  # (B, n_img, 64), packed
    text: Tensor  # (B, n_txt, d), from T5
    pooled: Tensor  # (B, d), from CLIP
    timestep: Tensor  # (B,), 1 is pure noise
    guidance: Tensor  # (B,); not used where FLUX has no guidance embedding
    image_ids: Tensor  # (n_img, 3)
    condition: Tensor | None = None  # (B, n_cond, 64), packed and clean
    condition_ids: Tensor | None = None  # (n_cond, 3)


@dataclass(frozen=True, slots=True)
class StepConstants:
    """What stays the same over all steps of a sample."""

    text: Tensor  # (B, n_txt, D)
    rotary: Rotary
    condition: tuple[Tensor, ...] = ()  # one (B, n_cond, D), or nothing
    modulations: tuple[Tensor, ...] = ()  # of the condition, one a block: (B, 6 or 3, D)


def velocity(
    transformer: FluxTransformer2DModel,
    inputs: FluxInputs,
    lora: CorrectorLora | None = None,
    constants: StepConstants | None = None,
    walk: Walk = iter,
) -> Tensor:
    """FLUX's prediction of noise - image, for the image tokens only: (B, n_img, 64)."""
    constants = constants or step_constants(transformer, inputs, lora, walk)
    image = transformer.x_embedder(inputs.latents)
    time = _time(transformer, inputs.timestep, inputs.guidance, inputs.pooled, image.dtype)
    spans = (constants.text, image, *constants.condition)
    # Without condition tokens there is nothing that the LoRA may touch.
    blocks = _blocks(transformer, lora if constants.condition else None, walk)
    for index, (step, block, adapters) in enumerate(blocks):
        own = constants.modulations[index : index + 1]
        arguments = (block, spans, time, own, constants.rotary, adapters)
        if transformer.gradient_checkpointing and torch.is_grad_enabled():
            spans = checkpoint(step, *arguments, use_reentrant=False)
        else:
            spans = step(*arguments)
    return transformer.proj_out(transformer.norm_out(spans[1], time))


def step_constants(
    transformer: FluxTransformer2DModel,
    inputs: FluxInputs,
    lora: CorrectorLora | None = None,
    walk: Walk = iter,
) -> StepConstants:
    """What sampling computes once and hands to `velocity` at every step."""
    text = transformer.context_embedder(inputs.text)
    ids = [inputs.image_ids.new_zeros(text.shape[1], 3), inputs.image_ids]
    if inputs.condition is None or inputs.condition_ids is None:
        return StepConstants(text, transformer.pos_embed(torch.cat(ids)))
    rotary = transformer.pos_embed(torch.cat([*ids, inputs.condition_ids]))
    adapter = lora.at("x_embedder") if lora else None
    condition = _linear(transformer.x_embedder, inputs.condition, 0, adapter)
    clean = torch.zeros_like(inputs.timestep)
    time = _time(transformer, clean, torch.ones_like(clean), inputs.pooled, text.dtype)
    modulations = tuple(
        _modulation(block.norm1, time, adapters.get("norm1.linear"))
        if step is _double
        else _modulation(block.norm, time, adapters.get("norm.linear"))
        for step, block, adapters in _blocks(transformer, lora, walk)
    )
    return StepConstants(text, rotary, (condition,), modulations)


def _blocks(
    transformer: FluxTransformer2DModel, lora: CorrectorLora | None, walk: Walk
) -> Iterator[tuple[Callable[..., Spans], Block, Adapters]]:
    """The function, the module and the LoRA of each block, in order."""
    double, single = transformer.transformer_blocks, transformer.single_transformer_blocks
    paths = [f"transformer_blocks.{i}" for i in range(len(double))]
    paths += [f"single_transformer_blocks.{i}" for i in range(len(single))]
    for index, block in enumerate(walk([*double, *single])):
        step = _double if index < len(double) else _single
        yield step, block, lora.under(paths[index]) if lora else {}


def _double(
    block: Block, spans: Spans, time: Tensor, own: Spans, rotary: Rotary, adapters: Adapters
) -> Spans:
    """A block in which text has weights of its own; the condition shares the image's."""
    text, *pictures = spans
    words = [_modulation(block.norm1_context, time)]
    scales = [_modulation(block.norm1, time), *own]
    start = pictures[0].shape[1]

    tokens = _modulated(block.norm1.norm, pictures, scales, 0)
    prose = _modulated(block.norm1_context.norm, [text], words, 0)
    heads = map(
        _joined, _text_heads(block.attn, prose), _heads(block.attn, tokens, start, adapters)
    )
    attended = _attend(block.attn, heads, rotary)
    prose, tokens = attended.split([text.shape[1], tokens.shape[1]], dim=1)
    tokens = _linear(block.attn.to_out[0], tokens, start, adapters.get("attn.to_out.0"))
    pictures = _gated(pictures, scales, 2, tokens)
    (text,) = _gated([text], words, 2, block.attn.to_add_out(prose))

    tokens = block.ff.net[0](_modulated(block.norm2, pictures, scales, 3))
    tokens = _linear(block.ff.net[2], tokens, start, adapters.get("ff.net.2"))
    pictures = _gated(pictures, scales, 5, tokens)
    prose = block.ff_context(_modulated(block.norm2_context, [text], words, 3))
    (text,) = _gated([text], words, 5, prose)
    return (text, *pictures)


def _single(
    block: Block, spans: Spans, time: Tensor, own: Spans, rotary: Rotary, adapters: Adapters
) -> Spans:
    """A block in which all tokens share the weights, attention beside feed-forward."""
    main = _modulation(block.norm, time)
    scales = [main, main, *own]
    start = spans[0].shape[1] + spans[1].shape[1]
    tokens = _modulated(block.norm.norm, spans, scales, 0)
    hidden = block.act_mlp(_linear(block.proj_mlp, tokens, start, adapters.get("proj_mlp")))
    attended = _attend(block.attn, _heads(block.attn, tokens, start, adapters), rotary)
    joined = torch.cat([attended, hidden], dim=2)
    tokens = _linear(block.proj_out, joined, start, adapters.get("proj_out"))
    return tuple(_gated(spans, scales, 2, tokens))


def _time(
    transformer: FluxTransformer2DModel,
    timestep: Tensor,
    guidance: Tensor,
    pooled: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """The embedding of time, guidance and CLIP's vector, (B, D)."""
    # Rounded to the model's dtype before the factor, as in diffusers: bf16 moves t by up to 2.
    moment = timestep.to(dtype) * 1000
    if not transformer.config["guidance_embeds"]:
        return transformer.time_text_embed(moment, pooled)
    return transformer.time_text_embed(moment, guidance.to(dtype) * 1000, pooled)


def _modulation(norm: Block, time: Tensor, adapter: LoraLayer | None = None) -> Tensor:
    """Shift, scale, gate of attention, then (double blocks) of feed-forward: (B, 6 or 3, D)."""
    time = silu(time)
    values = norm.linear(time) if adapter is None else norm.linear(time) + adapter(time)
    return values.unflatten(1, (-1, time.shape[1]))


def _linear(module: Block, tokens: Tensor, start: int, adapter: LoraLayer | None) -> Tensor:
    """One matrix product for all tokens; the LoRA's share is added from token `start` on."""
    result = module(tokens)
    if adapter is not None:
        # Not `+=`: writing the whole of a frozen layer's result back into itself breaks autograd.
        result[:, start:].add_(adapter(tokens[:, start:]))
    return result


def _modulated(norm: Block, spans: Iterable[Tensor], scales: Iterable[Tensor], at: int) -> Tensor:
    """All spans as one, each normalised and moved by rows `at` and `at` + 1 of its scales."""
    parts = [
        norm(span) * (1 + scale[:, at + 1 : at + 2]) + scale[:, at : at + 1]
        for span, scale in zip(spans, scales, strict=True)
    ]
    return _joined(*parts)


def _gated(
    spans: Sequence[Tensor], scales: Iterable[Tensor], at: int, update: Tensor
) -> list[Tensor]:
    """Each span plus its part of `update`, weighed by row `at` of its scales."""
    parts = update.split([span.shape[1] for span in spans], dim=1)
    return [
        span + scale[:, at : at + 1] * part
        for span, scale, part in zip(spans, scales, parts, strict=True)
    ]


def _joined(*parts: Tensor) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _heads(attn: Block, tokens: Tensor, start: int, adapters: Adapters) -> tuple[Tensor, ...]:
    """Query, key and value, (B, n, heads, width) each."""
    query = _linear(attn.to_q, tokens, start, adapters.get("attn.to_q"))
    key = _linear(attn.to_k, tokens, start, adapters.get("attn.to_k"))
    value = _linear(attn.to_v, tokens, start, adapters.get("attn.to_v"))
    query, key, value = (x.unflatten(-1, (-1, attn.head_dim)) for x in (query, key, value))
    return attn.norm_q(query), attn.norm_k(key), value


def _text_heads(attn: Block, text: Tensor) -> tuple[Tensor, ...]:
    """As `_heads`, with the weights of a double block's text."""
    projections = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
    query, key, value = (linear(text).unflatten(-1, (-1, attn.head_dim)) for linear in projections)
    return attn.norm_added_q(query), attn.norm_added_k(key), value


def _attend(attn: Block, heads: Iterable[Tensor], rotary: Rotary) -> Tensor:
    """Full attention by the backend that was set on the model, (B, n, D)."""
    query, key, value = heads
    attended = dispatch_attention_fn(
        _rotated(query, rotary),
        _rotated(key, rotary),
        value,
        backend=attn.processor._attention_backend,
    )
    return attended.flatten(2, 3).to(query.dtype)


def _rotated(heads: Tensor, rotary: Rotary) -> Tensor:
    """Each pair of numbers turned by its token's angle, in float32."""
    cosines, sines = (part[:, None] for part in rotary)  # (n, 1, width)
    even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-odd, even], dim=-1).flatten(-2)
    return (heads.float() * cosines + turned.float() * sines).to(heads.dtype)
