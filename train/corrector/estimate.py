"""Memory and time of a training, computed from shapes before anything is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

from reflectionflow_core.flux.lora import read_corrector_lora, target_shapes
from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import duration
from train.corrector.beforehand import FOLDER, choice_of, latents_of
from train.corrector.encoded import COMMON, subsets_in
from train.corrector.flux import FLUX_1_DEV, bare, structure
from train.corrector.recipe import sentence
from train.corrector.settings import AUTO, CorrectorSettings
from train.corrector.validation import WORDS
from train.gpus import (
    ENCODERS,
    T5_TOKEN,
    T5_WIDTH,
    VAE_DECODE,
    VAE_ENCODE,
    check_fit,
    exchanging,
    forward_operations,
    smaller_batches,
    steps_of,
)
from train.latents.estimate import sample_operations
from train.shard_lists import shards_in
from train.triplets import SUBSETS, Triplets

TOKEN = 16  # pixels per side of a token, in every FLUX so far
# A block's activations when they are computed again, in numbers a token of its width; counted from
# its linears' inputs and outputs (q, k, v, attention, feed-forward, modulated copies).
A_BLOCK = 34
COMPARED = ("true", *WORDS)  # whose errors a validation takes


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the data: text on samples and encoding, the subsets, and how many samples
    are encoded first. `settings` have `latents` as a folder or None.
    """

    settings: CorrectorSettings
    samples: str
    subsets: Collection[str] = ()
    latents: tuple[str, ...] = ()
    first: int = 0


def estimate(settings: CorrectorSettings) -> str:
    """The figures as text; InputError if they do not fit into the GPU."""
    found = _found(settings)
    settings = found.settings
    config = structure(settings.model)
    transformer = bare(settings.model)
    shapes = target_shapes(transformer)
    rank, trained = _learned(settings, shapes)
    frozen = sum(p.numel() for p in transformer.parameters())
    memory = partial(_memory, transformer=transformer, frozen=frozen)
    lines = [
        f"FLUX: {frozen:,} weights, frozen{_assumed(config)}",
        f"LoRA: {trained:,} trainable weights in {len(shapes)} modules, rank {rank}, "
        f"on {settings.lora.tokens} tokens, {settings.lora.attention} attention",
        f"Samples: {found.samples}",
        *found.latents,
        sentence(settings, found.subsets),
        f"Steps: {steps_of(settings)}",
        f"Memory a GPU, estimated: {memory(settings, trained=trained) / 1e9:.1f} GB",
        f"Time: {_time(settings, transformer, found.first)}, on {settings.gpu.assumed}",
    ]
    if said := exchanging(*_batch_seconds(settings, transformer), settings.gpu):
        lines.append(f"Sharded: {said}")
    text = "".join(f"{line}.\n" for line in lines)
    need = memory(settings, trained=trained)
    ways = ((way, memory(changed, trained=trained)) for way, changed in _ways(settings))
    return check_fit(need, settings.gpu, text, ways)


def _learned(settings: CorrectorSettings, shapes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """The LoRA's rank and its weights: of the file that the run starts from, or new ones."""
    if (start := settings.lora.start) is None:
        rank = settings.lora.rank
        return rank, sum(rank * (out + wide) for out, wide in shapes.values())
    lora = read_corrector_lora(start, shapes)
    return max(layer.rank for _, layer in lora.items()), sum(p.numel() for p in lora.parameters())


def _ways(settings: CorrectorSettings) -> Iterator[tuple[str, CorrectorSettings]]:
    """Settings that save memory: one after the other, then all together."""
    shared = max(8, settings.gpu.count)
    sharded = settings.gpu.model_copy(update={"count": shared, "sharded": True})
    changes: dict[str, dict[str, Any]] = {
        "checkpointing=true": {"checkpointing": True},
        "latents=FOLDER": {"latents": Path("latents")},
        f"gpu.sharded=true gpu.count={shared}": {"gpu": sharded},
    }
    batches = dict(smaller_batches(settings.batch, settings.accumulate))
    for way, change in (changes | batches).items():
        yield way, settings.model_copy(update=change)
    last = dict(list(batches.items())[-1:])
    together = {name: v for change in (changes | last).values() for name, v in change.items()}
    yield " ".join([*changes, *last]), settings.model_copy(update=together)


def _assumed(config: dict) -> str:
    return " (FLUX.1-dev assumed: the model is not here)" if config is FLUX_1_DEV else ""


def _found(settings: CorrectorSettings) -> Found:
    folder = settings.latents
    if isinstance(folder, Path):
        return _encoded_in(settings, folder)
    drawn = settings.model_copy(update={"latents": None})
    try:
        triplets = Triplets(shards_in(settings.data, fetch=False))
    except InputError:
        return Found(drawn, f"not counted, because {settings.data} is not on this machine")
    subsets = Counter(SUBSETS[number] for number in triplets.entries.subsets)
    samples = samples_of(subsets, sum(triplets.skipped.values()))
    if folder != AUTO:
        return Found(drawn, samples, subsets)
    choice = choice_of(settings, len(triplets), settings.gpu.count)
    said = (f"Latents: {choice.reason}",)
    if not choice.first:
        return Found(drawn, samples, subsets, said)
    encoded = settings.model_copy(update={"latents": settings.out / FOLDER})
    return Found(encoded, samples, subsets, said, len(triplets))


def _encoded_in(settings: CorrectorSettings, folder: Path) -> Found:
    if not (folder / COMMON).is_file():
        return Found(settings, f"not counted, because there are no latents in {folder}")
    subsets, out = subsets_in(folder)
    samples = f"{samples_of(subsets, out)}; encoded beforehand in {folder}"
    return Found(settings, samples, subsets)


def samples_of(subsets: Counter[str], out: int) -> str:
    """The number of samples by subset, and of those that cannot be used."""
    named = ", ".join(f"{count:,} {subset}" for subset, count in sorted(subsets.items()))
    return f"{subsets.total():,}{f' ({named})' if named else ''}; {out:,} left out as broken"


def _tokens(settings: CorrectorSettings) -> tuple[int, int, int]:
    """Tokens of text, image and condition."""
    image, condition = settings.target_size // TOKEN, settings.condition_size // TOKEN
    return settings.text_length, image**2, condition**2


def _width(transformer: FluxTransformer2DModel) -> int:
    config = transformer.config
    return config["num_attention_heads"] * config["attention_head_dim"]


def _blocks(transformer: FluxTransformer2DModel) -> int:
    return len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)


def _forward(settings: CorrectorSettings, transformer: FluxTransformer2DModel) -> float:
    """Operations of a forward pass of one sample."""
    return forward_operations(_blocks(transformer), _width(transformer), sum(_tokens(settings)))


def _encoding(settings: CorrectorSettings, transformer: FluxTransformer2DModel) -> float:
    """Operations to encode one sample: two pictures and a text."""
    if _encoded(settings, transformer):
        return 0.0
    pixels = settings.target_size**2 + settings.condition_size**2
    return pixels * VAE_ENCODE + settings.text_length * T5_TOKEN


def _time(settings: CorrectorSettings, transformer: FluxTransformer2DModel, first: int) -> str:
    """Time of the whole run and of its parts, as text; `first` samples are encoded first.

    Frozen weights have no gradients, so a backward pass costs about as much as a forward pass plus
    a tenth for attention; gradient checkpointing adds a forward pass. Every process validates.
    """
    forward, encoding = (f(settings, transformer) for f in (_forward, _encoding))
    beforehand = 0.0 if _small(transformer) else first * sample_operations(latents_of(settings))
    batches = settings.accumulate * settings.steps  # of a process
    drawn = settings.batch * batches
    computing, exchanged = _batch_seconds(settings, transformer)
    gathered = settings.gpu.speed * exchanged / 2  # operations of one forward pass
    v = settings.validation
    times = 1 + -(-settings.steps // v.every)
    decoding = 3 * settings.target_size**2 * VAE_DECODE
    mended = 3 * min(v.mended.pictures, v.samples)  # true, no and another sample's reflection
    looking = max(forward, gathered)
    corrected = (min(v.pictures, v.samples) + mended) * (v.steps * looking + decoding)
    checked = v.samples * len(COMPARED) * (times * looking + encoding)
    parts = {
        "learning": batches * max(computing, exchanged) * settings.gpu.speed,
        "encoding by VAE and T5": drawn * encoding + beforehand / settings.gpu.count,
        "validation": times * corrected + checked,
    }
    named = ", ".join(
        f"{what} {duration(operations / settings.gpu.speed)}"
        for what, operations in parts.items()
        if operations
    )
    return f"{duration(sum(parts.values()) / settings.gpu.speed)} ({named})"


def _batch_seconds(
    settings: CorrectorSettings, transformer: FluxTransformer2DModel
) -> tuple[float, float]:
    """Seconds to compute a batch, and to gather sharded weights for it, forward and backward."""
    often = 3.1 if settings.checkpointing else 2.1
    computing = settings.batch * _forward(settings, transformer) * often / settings.gpu.speed
    width = 2 if settings.dtype == "bf16" else 4
    frozen = sum(p.numel() for p in transformer.parameters())
    return computing, 2 * settings.gpu.exchange(frozen * width)


def _encoded(settings: CorrectorSettings, transformer: FluxTransformer2DModel) -> bool:
    """Whether VAE and T5 are not used, or belong to a small model."""
    return settings.latents is not None or _small(transformer)


def _small(transformer: FluxTransformer2DModel) -> bool:
    return transformer.config["joint_attention_dim"] != T5_WIDTH


def _memory(
    settings: CorrectorSettings, transformer: FluxTransformer2DModel, frozen: int, trained: int
) -> float:
    """Bytes of weights, of the LoRA with gradient and optimiser in float32, and of activations."""
    size = 2 if settings.dtype == "bf16" else 4
    states = {"prodigy": 4, "adamw": 2}[settings.optimiser.name] + (
        settings.optimiser.ema is not None
    )
    here = frozen / (settings.gpu.count if settings.gpu.shares_weights else 1)
    weights = (here + (0 if _encoded(settings, transformer) else ENCODERS)) * size
    learned = trained * 4 * (2 + states)
    kept = 1 if settings.checkpointing else A_BLOCK
    numbers = sum(_tokens(settings)) * _width(transformer)
    activations = settings.batch * numbers * size * (kept * _blocks(transformer) + A_BLOCK)
    return weights + learned + activations
