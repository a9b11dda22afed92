"""Shards and a FLUX for tests of the corrector's training: small, random, on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from webdataset.writer import TarWriter

from reflectionflow_core.flux.model import Flux
from reflectionflow_core.miniature.world import COLOURS
from train.corrector.dry_run import small_flux, write_triplets
from train.corrector.settings import CorrectorSettings
from train.triplets import Triplet, files_of

SMALL: dict[str, Any] = {
    "model": "miniature",
    "device": "cpu",
    "dtype": "fp32",
    "target_size": 64,
    "condition_size": 32,
    "text_length": 24,
    "steps": 10,
    "save_every": 5,
    "batch": 2,
    "workers": 2,
    "latents": None,
    "checkpointing": False,
    "lora": {"rank": 4},
    "validation": {"samples": 2, "pictures": 1, "steps": 2, "every": 100},
}


def settings(out: Path, data: Path | str = "", **changes: Any) -> CorrectorSettings:
    return CorrectorSettings(**{**SMALL, "out": out, "data": str(data), **changes})


def toy_flux() -> Flux:
    return small_flux(CorrectorSettings(**SMALL, data="none"))


def shards(folder: Path, count: int = 16) -> Path:
    return write_triplets(folder, count)


def write(folder: Path, triplets: Iterable[Triplet]) -> Path:
    """A shard of these samples."""
    folder.mkdir(parents=True, exist_ok=True)
    with TarWriter(str(folder / "some.tar")) as shard:
        for triplet in triplets:
            shard.write({"__key__": triplet.key, **files_of(triplet, "png")})
    return folder


def triplet(number: int = 0, size: tuple[int, int] = (64, 64), **changes: Any) -> Triplet:
    """A sample whose pictures are noise."""
    rng = np.random.default_rng(number)
    good, bad = (
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)) for _ in range(2)
    )
    values: dict[str, Any] = {
        "key": f"noise-{number}",
        "good": good,
        "bad": bad,
        "prompt": f"a photo of a {list(COLOURS)[number % len(COLOURS)]} circle",
        "reflection": "make the circle red",
        "subset": "rule",
    }
    return Triplet(**{**values, **changes})
