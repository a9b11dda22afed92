"""Disk space and time of the encoding."""

from __future__ import annotations

from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import duration
from train.corrector.encoded import PART
from train.corrector.flux import structure
from train.gpus import ENCODERS, T5_TOKEN, T5_WIDTH, VAE_ENCODE, check_fit
from train.latents.settings import LatentsSettings
from train.shard_lists import shards_in
from train.triplets import Triplets


def sample_bytes(settings: LatentsSettings, width: int = T5_WIDTH) -> int:
    """Bytes of one sample: latents of both pictures and T5 states of this width."""
    texts = 2 + settings.shuffled + settings.alone
    sides = settings.target_size, settings.condition_size
    tokens = sum((side // 16) ** 2 for side in sides)
    return (tokens * 64 + texts * settings.text_length * width) * _bytes(settings)


def sample_operations(settings: LatentsSettings) -> float:
    """Operations to encode one sample with FLUX.1's VAE and T5."""
    pixels = settings.target_size**2 + settings.condition_size**2
    texts = 2 + settings.shuffled + settings.alone
    return pixels * VAE_ENCODE + texts * settings.text_length * T5_TOKEN


def _bytes(settings: LatentsSettings) -> int:
    """Bytes of one number."""
    return 2 if settings.dtype == "bf16" else 4


def estimate(settings: LatentsSettings) -> str:
    """The figures as text; InputError if VAE and text encoders do not fit into the GPU."""
    try:
        count = len(Triplets(shards_in(settings.data, fetch=False)))
    except InputError:
        count = 0
    gpu, texts = settings.gpu, 2 + settings.shuffled + settings.alone
    width = structure(settings.model).get("joint_attention_dim", T5_WIDTH)
    sample, is_full = sample_bytes(settings, width), width == T5_WIDTH
    seconds = sample_operations(settings) / gpu.speed / gpu.count
    text = f"About {sample / 1e6:.2f} MB a sample ({texts} texts, each {width} wide)"
    if is_full:
        text += f" and {duration(seconds * 1e6)} a million samples, on {gpu.assumed}"
    if count:
        time = f" and {duration(seconds * count)}" if is_full else ""
        text += (
            f": {count * sample / 1e9:.2f} GB{time} for {count:,} samples in "
            f"{-(-count // PART):,} parts.\n"
        )
    else:
        text += f"; {settings.data} is not on this machine, so its samples are not counted.\n"
    if not is_full:
        return f"{text}Time and memory are not estimated for so small a model.\n"
    need = ENCODERS * _bytes(settings)
    text += (
        f"Memory a GPU, estimated: {need / 1e9:.1f} GB for VAE and text encoders, of "
        f"{gpu.memory / 1e9:.0f} GB.\n"
    )
    return check_fit(need, gpu, text, ())
