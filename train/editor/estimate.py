"""Memory and time of an editing model's training, computed before anything is loaded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel

from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import duration
from train.corrector.estimate import A_BLOCK, COMPARED, samples_of
from train.corrector.recipe import sentence
from train.editor.klein import PATCH, targets
from train.editor.settings import EditorSettings
from train.gpus import (
    VAE_DECODE,
    VAE_ENCODE,
    check_fit,
    forward_operations,
    smaller_batches,
    steps_of,
)
from train.shard_lists import shards_in
from train.triplets import SUBSETS, Triplets

# The published FLUX.2 [klein]: the transformer's configuration and the text encoder's weights.
PUBLISHED: dict[str, tuple[dict[str, Any], float]] = {
    "4B": ({"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24}, 4.02e9),
    "9B": ({"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32}, 8.19e9),
}
JOINT = {24: 7680, 32: 12288}  # the width of a text by the number of heads
VAE = 84e6  # weights


def estimate(settings: EditorSettings) -> str:
    """The figures as text; InputError if they do not fit into the GPU."""
    config, encoder = structure(settings.model)
    with torch.device("meta"):
        transformer = Flux2Transformer2DModel(**config)
    samples, subsets = _samples(settings)
    linears = dict(transformer.named_modules())
    names = targets(transformer)
    trained = sum(settings.rank * sum(linears[name].weight.shape) for name in names)
    frozen = sum(p.numel() for p in transformer.parameters())
    blocks = len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)
    width = transformer.config["num_attention_heads"] * transformer.config["attention_head_dim"]

    def memory(chosen: EditorSettings) -> float:
        size = 2 if chosen.dtype == "bf16" else 4
        states = {"prodigy": 4, "adamw": 2}[chosen.optimiser.name]
        states += chosen.optimiser.ema is not None
        kept = 1 if chosen.checkpointing else A_BLOCK
        alive = chosen.batch * _tokens(chosen) * width * size * (kept * blocks + A_BLOCK)
        return (frozen + encoder + VAE) * size + trained * 4 * (2 + states) + alive

    lines = (
        f"Model: {frozen:,} weights, frozen, and {(encoder + VAE) / 1e9:.1f} billion of text "
        "encoder and VAE",
        f"LoRA: {trained:,} trainable weights in {len(names)} modules, rank {settings.rank}",
        f"Samples: {samples}",
        sentence(settings, subsets),
        f"Steps: {steps_of(settings)}",
        f"Memory a GPU, estimated: {memory(settings) / 1e9:.1f} GB",
        f"Time: {_time(settings, blocks, width, encoder)}, on {settings.gpu.assumed}",
    )
    changes: dict[str, dict[str, Any]] = {"checkpointing=true": {"checkpointing": True}}
    changes |= dict(smaller_batches(settings.batch, settings.accumulate))
    ways = ((way, memory(settings.model_copy(update=change))) for way, change in changes.items())
    return check_fit(memory(settings), settings.gpu, "".join(f"{x}.\n" for x in lines), ways)


def structure(model: str) -> tuple[dict[str, Any], float]:
    """The transformer's configuration and the text encoder's size, from a folder or a name."""
    file = Path(model).expanduser() / "transformer" / "config.json"
    if file.is_file():
        config = json.loads(file.read_text(encoding="utf-8"))
        found = {name: value for name, value in config.items() if not name.startswith("_")}
        return found, 4.02e9 if found["joint_attention_dim"] <= JOINT[24] else 8.19e9
    known = next((row for name, row in PUBLISHED.items() if name in model.upper()), None)
    if known is None:
        raise InputError(
            f"The size of {model} is unknown. Give its folder, or a name with "
            f"{' or '.join(PUBLISHED)} in it."
        )
    config, encoder = known
    joint = JOINT[config["num_attention_heads"]]
    shape = {"joint_attention_dim": joint, "guidance_embeds": False, "in_channels": 128}
    return {**shape, **config}, encoder


def _tokens(settings: EditorSettings) -> int:
    pictures = (settings.target_size // PATCH) ** 2 + (settings.condition_size // PATCH) ** 2
    return settings.text_length + pictures


def _time(settings: EditorSettings, blocks: int, width: int, encoder: float) -> str:
    """Time of the run and its parts; frozen weights have no gradients, as for the corrector."""
    forward = forward_operations(blocks, width, _tokens(settings))
    pixels = settings.target_size**2 + settings.condition_size**2
    encoding = pixels * VAE_ENCODE + 2 * encoder * settings.text_length
    drawn = settings.batch * settings.accumulate * settings.steps
    v = settings.validation
    times = 1 + -(-settings.steps // v.every)
    decoding = 3 * settings.target_size**2 * VAE_DECODE
    corrected = min(v.pictures, v.samples) + 3 * min(v.mended.pictures, v.samples)
    parts = {
        "learning": drawn * forward * (3.1 if settings.checkpointing else 2.1),
        "encoding": drawn * encoding,
        "validation": v.samples * len(COMPARED) * (times * forward + encoding)
        + times * corrected * (v.steps * forward + decoding),
    }
    named = ", ".join(
        f"{what} {duration(operations / settings.gpu.speed)}" for what, operations in parts.items()
    )
    return f"{duration(sum(parts.values()) / settings.gpu.speed)} ({named})"


def _samples(settings: EditorSettings) -> tuple[str, Collection[str]]:
    """The samples as text, and their subsets."""
    try:
        triplets = Triplets(shards_in(settings.data, fetch=False))
    except InputError:
        return f"not counted, because {settings.data} is not on this machine", ()
    subsets = Counter(SUBSETS[number] for number in triplets.entries.subsets)
    return samples_of(subsets, sum(triplets.skipped.values())), subsets
