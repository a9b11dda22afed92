"""What the encoded samples will take on the disk."""

from __future__ import annotations

from reflectionflow_core.record import InputError
from train.corrector.encoded import PART
from train.latents.settings import LatentsSettings
from train.shard_lists import shards_in
from train.triplets import Triplets


def estimate(settings: LatentsSettings) -> str:
    try:
        count = len(Triplets(shards_in(settings.data, fetch=False)))
    except InputError:
        count = 0
    side = settings.target_size // 16, settings.condition_size // 16
    width, bytes_ = (4096, 2) if settings.dtype == "bf16" else (4096, 4)
    sample = (side[0] ** 2 + side[1] ** 2) * 64 * bytes_ + 2 * settings.text_length * width * bytes_
    a_sample = f"About {sample / 1e6:.2f} MB a sample (FLUX.1: 16 pixels a token, T5 4096 wide)"
    if not count:
        return f"{a_sample}; {settings.data} is not on this machine, so they are not counted.\n"
    parts = -(-count // PART)
    return f"{a_sample}: {count * sample / 1e9:.1f} GB for {count:,} samples in {parts:,} parts.\n"
