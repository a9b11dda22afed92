"""What a training will take, before anything is loaded: counted from shapes, or estimated."""

from __future__ import annotations

from collections import Counter

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

from reflectionflow_core.flux.lora import target_shapes
from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import counted, duration
from train.corrector.encoded import COMMON, header
from train.corrector.flux import FLUX_1_DEV, structure
from train.corrector.settings import CorrectorSettings
from train.processes import join, shares_weights
from train.shard_lists import shards_in
from train.triplets import Triplets

TFLOPS = 400  # a GPU of the H100 class in bf16, as large matrix products reach it; assumed
TOKEN = 16  # pixels a side, in every FLUX so far
ENCODERS = 4_970_000_000  # weights of FLUX.1's T5-XXL, CLIP-L and VAE
T5_WIDTH = 4096
# A block's activations when they are computed again, in numbers a token of its width; counted from
# its linears' inputs and outputs (q, k, v, attention, feed-forward, modulated copies).
A_BLOCK = 34


def estimate(settings: CorrectorSettings) -> str:
    """The figures as lines of text."""
    config = structure(settings.model)
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**config)
    shapes = target_shapes(transformer)
    trained = sum(settings.lora.rank * (out + wide) for out, wide in shapes.values())
    frozen = sum(p.numel() for p in transformer.parameters())
    processes = join().num_processes  # of whatever device: this may not be the machine
    a_step = settings.batch * settings.accumulate * processes
    operations = 3.1 if settings.checkpointing else 2.1
    operations *= _forward(settings, transformer) * a_step * settings.steps
    lines = [
        f"FLUX: {frozen:,} weights, frozen{_assumed(config)}",
        f"LoRA: {trained:,} trainable weights in {len(shapes)} modules, rank {settings.lora.rank}, "
        f"on {settings.lora.tokens} tokens, {settings.lora.attention} attention",
        f"Samples: {_samples(settings)}",
        f"Steps: {settings.steps:,} of {a_step} samples ({settings.batch} a batch, "
        f"{settings.accumulate} a step, {counted(processes, 'process', 'processes')}), "
        f"{settings.steps * a_step:,} in all",
        f"Memory a GPU, estimated: {_memory(settings, transformer, frozen, trained) / 1e9:.1f} GB",
        f"Time, if a GPU computes {TFLOPS} TFLOP/s (assumed): "
        f"{duration(operations / processes / TFLOPS / 1e12)}",
    ]
    return "".join(f"{line}.\n" for line in lines)


def _assumed(config: dict) -> str:
    return " (the model is not on this machine: FLUX.1-dev's shape)" if config is FLUX_1_DEV else ""


def _samples(settings: CorrectorSettings) -> str:
    if settings.latents is not None and (settings.latents / COMMON).is_file():
        made = header(settings.latents / COMMON)
        return f"{made['samples']:,} encoded beforehand in {settings.latents}"
    try:
        triplets = Triplets(shards_in(settings.data, fetch=False))
    except InputError:
        return f"not counted, because {settings.data} is not on this machine"
    subsets = Counter(entry.subset for entry in triplets.entries)
    named = ", ".join(f"{count:,} {subset}" for subset, count in sorted(subsets.items()))
    broken = sum(triplets.skipped.values())
    return f"{len(triplets):,} ({named}); {broken:,} left out as broken"


def _tokens(settings: CorrectorSettings) -> tuple[int, int, int]:
    """Text, image and condition."""
    image, condition = settings.target_size // TOKEN, settings.condition_size // TOKEN
    return settings.text_length, image**2, condition**2


def _width(transformer: FluxTransformer2DModel) -> int:
    config = transformer.config
    return config["num_attention_heads"] * config["attention_head_dim"]


def _blocks(transformer: FluxTransformer2DModel) -> int:
    return len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)


def _forward(settings: CorrectorSettings, transformer: FluxTransformer2DModel) -> float:
    """Operations of one sample's forward: 24 D^2 a token and 4 S^2 D for attention, a block.

    Frozen weights have no gradients of their own, so backward costs about as much again, and a
    tenth more for attention; with checkpoints one more forward.
    """
    length, width = sum(_tokens(settings)), _width(transformer)
    return _blocks(transformer) * (24 * width**2 * length + 4 * length**2 * width)


def _memory(
    settings: CorrectorSettings, transformer: FluxTransformer2DModel, frozen: int, trained: int
) -> float:
    """Bytes: weights, the LoRA with its gradient and optimiser in float32, activations."""
    size = 2 if settings.dtype == "bf16" else 4
    states = {"prodigy": 4, "adamw": 2}[settings.optimiser.name] + (
        settings.optimiser.ema is not None
    )
    encoded = settings.latents or transformer.config["joint_attention_dim"] != T5_WIDTH
    here = frozen / (join().num_processes if shares_weights() else 1)
    weights = (here + (0 if encoded else ENCODERS)) * size
    learned = trained * 4 * (2 + states)
    kept = 1 if settings.checkpointing else A_BLOCK
    numbers = sum(_tokens(settings)) * _width(transformer)
    activations = settings.batch * numbers * size * (kept * _blocks(transformer) + A_BLOCK)
    return weights + learned + activations
