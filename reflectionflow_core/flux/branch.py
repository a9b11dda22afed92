"""One step of FLUX with a condition branch, over an unmodified FluxTransformer2DModel.

The tokens are text, image and condition in this order, and every block attends to all of them.
Condition tokens have their own time (t = 0, guidance 1), and only they get the corrector's LoRA.
Without a condition this equals the stock forward pass. It is differentiable, so training uses it
too.

A LoRA may have been trained in another mode (lora.py). With independent attention the condition
attends only to itself, so its keys and values are equal at every step: they are computed once per
picture, and a step costs little more than without a condition.

Independent of schedules, prompts, pictures and files. Not supported: IP-adapters, ControlNet
residuals, fp16 clipping, tensor and context parallelism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .blocks import (
    Adapters,
    Block,
    KeysValues,
    Rotary,
    Spans,
    adapted,
    double,
    double_alone,
    modulation,
    single,
    single_alone,
)
from .lora import PUBLISHED, CorrectorLora, Mode

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

# Yields blocks in order; a placement may fetch the next block's weights meanwhile.
Walk = Callable[[Iterable[nn.Module]], Iterable[nn.Module]]


@dataclass(frozen=True, slots=True)
class FluxInputs:
    """The inputs of one step for B samples, each with its own prompt, picture and noise."""

    latents: Tensor  # (B, n_img, 64), packed
    text: Tensor  # (B, n_txt, d), from T5
    pooled: Tensor  # (B, d), from CLIP
    timestep: Tensor  # (B,), 1 is pure noise
    guidance: Tensor  # (B,); unused by a FLUX without guidance embedding
    image_ids: Tensor  # (n_img, 3)
    condition: Tensor | None = None  # (B, n_cond, 64), packed and clean
    condition_ids: Tensor | None = None  # (n_cond, 3)


@dataclass(frozen=True, slots=True)
class StepConstants:
    """Values that are equal at all steps of a sample."""

    text: Tensor  # (B, n_txt, D)
    rotary: Rotary
    condition: tuple[Tensor, ...] = ()  # one (B, n_cond, D), or ()
    modulations: tuple[Tensor, ...] = ()  # of the condition, one per block: (B, 6 or 3, D)
    # One per block if the condition attends only to itself and takes no part in the steps.
    cached: tuple[KeysValues, ...] = ()


def velocity(
    transformer: FluxTransformer2DModel,
    inputs: FluxInputs,
    lora: CorrectorLora | None = None,
    constants: StepConstants | None = None,
    walk: Walk = iter,
) -> Tensor:
    """FLUX's prediction of noise - image, for the image tokens only: (B, n_img, 64)."""
    constants = constants or step_constants(transformer, inputs, lora, walk)
    lora_on_all = _mode(lora).tokens == "all"
    # Without condition tokens the LoRA has nothing to apply to, unless it is for all tokens.
    lora = lora if constants.condition or lora_on_all else None
    adapter = lora.at("x_embedder") if lora and lora_on_all else None
    image = adapted(transformer.x_embedder, inputs.latents, 0, adapter)
    time = _time(transformer, inputs.timestep, inputs.guidance, inputs.pooled, image.dtype)
    spans = (constants.text, image, *constants.condition)
    for index, (block, is_double, adapters) in enumerate(_blocks(transformer, lora, walk)):
        own = constants.modulations[index : index + 1]
        cached = constants.cached[index] if constants.cached else ()
        step = double if is_double else single
        arguments = (block, spans, time, own, constants.rotary, adapters, lora_on_all, cached)
        spans = _run(transformer, step, *arguments)
    return transformer.proj_out(transformer.norm_out(spans[1], time))


def step_constants(
    transformer: FluxTransformer2DModel,
    inputs: FluxInputs,
    lora: CorrectorLora | None = None,
    walk: Walk = iter,
) -> StepConstants:
    """Values that are computed once and passed to `velocity` at every step."""
    text = transformer.context_embedder(inputs.text)
    ids = [inputs.image_ids.new_zeros(text.shape[1], 3), inputs.image_ids]
    if inputs.condition is None or inputs.condition_ids is None:
        return StepConstants(text, transformer.pos_embed(torch.cat(ids)))
    adapter = lora.at("x_embedder") if lora else None
    condition = adapted(transformer.x_embedder, inputs.condition, 0, adapter)
    clean = torch.zeros_like(inputs.timestep)
    time = _time(transformer, clean, torch.ones_like(clean), inputs.pooled, text.dtype)
    if _mode(lora).attention == "independent":
        rotary = transformer.pos_embed(inputs.condition_ids)
        cached = _keys_and_values(transformer, condition, time, rotary, lora, walk)
        return StepConstants(text, transformer.pos_embed(torch.cat(ids)), cached=cached)
    rotary = transformer.pos_embed(torch.cat([*ids, inputs.condition_ids]))
    modulations = tuple(
        modulation(block.norm1, time, adapters.get("norm1.linear"))
        if is_double
        else modulation(block.norm, time, adapters.get("norm.linear"))
        for block, is_double, adapters in _blocks(transformer, lora, walk)
    )
    return StepConstants(text, rotary, (condition,), modulations)


def _keys_and_values(
    transformer: FluxTransformer2DModel,
    tokens: Tensor,
    time: Tensor,
    rotary: Rotary,
    lora: CorrectorLora | None,
    walk: Walk,
) -> tuple[KeysValues, ...]:
    """The keys and values of a condition that attends only to itself, one pair per block."""
    cached: list[KeysValues] = []
    for block, is_double, adapters in _blocks(transformer, lora, walk):
        alone = double_alone if is_double else single_alone
        tokens, *pair = _run(transformer, alone, block, tokens, time, rotary, adapters)
        cached.append(tuple(pair))
    return tuple(cached)


def _mode(lora: CorrectorLora | None) -> Mode:
    return lora.mode if lora else PUBLISHED


def _run(transformer: FluxTransformer2DModel, step: Callable[..., Spans], *arguments: Any) -> Spans:
    """The block's result; with gradient checkpointing it is recomputed in the backward pass."""
    if transformer.gradient_checkpointing and torch.is_grad_enabled():
        return checkpoint(step, *arguments, use_reentrant=False)
    return step(*arguments)


def _blocks(
    transformer: FluxTransformer2DModel, lora: CorrectorLora | None, walk: Walk
) -> Iterator[tuple[Block, bool, Adapters]]:
    """Each block in order, whether it is a double block, and its LoRA."""
    doubles, singles = transformer.transformer_blocks, transformer.single_transformer_blocks
    paths = [f"transformer_blocks.{i}" for i in range(len(doubles))]
    paths += [f"single_transformer_blocks.{i}" for i in range(len(singles))]
    for index, block in enumerate(walk([*doubles, *singles])):
        yield block, index < len(doubles), lora.under(paths[index]) if lora else {}


def _time(
    transformer: FluxTransformer2DModel,
    timestep: Tensor,
    guidance: Tensor,
    pooled: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """The embedding (B, D) of time, guidance and CLIP's vector."""
    # Rounded before scaling, as in diffusers: bf16 changes t by up to 2.
    moment = timestep.to(dtype) * 1000
    if not transformer.config["guidance_embeds"]:
        return transformer.time_text_embed(moment, pooled)
    return transformer.time_text_embed(moment, guidance.to(dtype) * 1000, pooled)
