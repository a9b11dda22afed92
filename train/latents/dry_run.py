"""The encoding in small: generated triplets and a narrow FLUX with random weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

from train.corrector.dry_run import encode_made_up, small_flux, small_sizes
from train.latents.settings import LatentsSettings


def dry_run(settings: LatentsSettings) -> str:
    with tempfile.TemporaryDirectory() as folder:
        small = settings.model_copy(update=small_sizes(settings))
        encode_made_up(small, small_flux(settings), Path(folder) / "latents")
        files = len(list(Path(folder, "latents").glob("part-*.safetensors")))
        return f"Dry run: {files} part of made-up samples was encoded.\n"
