"""Triplets of the shapes world as shards: a right scene, one with flaws, and the edits between.

No pictures of a model are in them; the data engine makes those.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from webdataset.writer import TarWriter

from reflectionflow_core.miniature.judge import faults
from reflectionflow_core.miniature.prompts import FAMILIES, prompts
from reflectionflow_core.miniature.world import render
from reflectionflow_core.record import InputError
from reflectionflow_core.writers.template import TemplateWriter
from train.miniature.scenes import compose, flawed
from train.triplets import Triplet, files_of


def scene_triplet(
    key: str, families: Sequence[str], rng: np.random.Generator, held_out: bool = False
) -> Triplet:
    """A right picture, a flawed one and the edits; the prompt is of the grammar's one side."""
    side = prompts(families[int(rng.integers(len(families)))], held_out=held_out)
    prompt, spec = side[int(rng.integers(len(side)))]
    good = compose(spec, rng)
    while not (found := faults(bad := flawed(good, rng), spec)):
        pass
    reflection = TemplateWriter().write([fault.unmet for fault in found])
    right, wrong = (Image.fromarray(render(scene)) for scene in (good, bad))
    return Triplet(key, right, wrong, prompt, reflection)


def write_shard(
    file: Path, count: int, families: Sequence[str], seed: int, held_out: bool = False
) -> None:
    """One .tar file of `count` triplets; the same for the same seed."""
    if unknown := set(families) - set(FAMILIES):
        raise InputError(
            f"There is no family of prompts named {min(unknown)!r}. "
            f"Choose among: {', '.join(FAMILIES)}."
        )
    rng = np.random.default_rng([seed, held_out])
    with TarWriter(str(file)) as writer:
        for number in range(count):
            triplet = scene_triplet(f"{number:06d}", families, rng, held_out)
            writer.write({"__key__": triplet.key, **files_of(triplet, "png")})
