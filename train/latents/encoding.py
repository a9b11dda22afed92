"""Latents of both pictures, T5's states with and without the reflection and CLIP's vector of every
sample, in files of PART samples. Existing files are kept, so a killed run is resumed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from torch import Tensor

from reflectionflow_core.archive.files import locked, make_folder, sweep
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.text import Text, encode_texts
from train.corrector.batches import reasons
from train.corrector.encoded import (
    ALONE,
    COMMON,
    EMPTY_POOLED,
    PART,
    SHUFFLED,
    black_name,
    header,
    part_file,
    write,
)
from train.corrector.flux import load
from train.corrector.pairs import black
from train.corrector.samples import WHOLE, Shards, encoded, text_of
from train.latents.settings import LatentsSettings
from train.processes import join, wait_for_all
from train.run_folder import check_same_run
from train.shard_lists import shards_in
from train.triplets import SampleError, Triplets


def encode(settings: LatentsSettings, flux: Flux | None = None) -> str:
    """Writes every part that is missing; returns a summary."""
    process = join(settings.torch_device)
    triplets = Triplets(shards_in(settings.data))
    make_folder(settings.out)
    with locked(settings.out) if process.is_main_process else nullcontext():
        shards = Shards(flux or load(settings), triplets, settings)
        parts = -(-len(triplets) // PART)
        if process.is_main_process:
            sweep(settings.out, "*.safetensors")
            _start_or_resume(settings, shards, parts)
        wait_for_all()
        mine = range(process.process_index, parts, process.num_processes)
        todo = [part for part in mine if not part_file(settings.out, part).is_file()]
        for part in track(todo, "latents", disable=not process.is_main_process):
            first = part * PART
            write_part(settings, shards, part, range(first, min(first + PART, len(triplets))))
        wait_for_all()
        return _summary(settings.out, parts, triplets.skipped) if process.is_main_process else ""


def _start_or_resume(settings: LatentsSettings, shards: Shards, parts: int) -> None:
    """Writes what all parts share; a folder with latents of other settings is refused."""
    views = settings.model_dump(mode="json", exclude={"out", "device", "gpu"})
    metadata = {"views": views, "parts": parts, "samples": len(shards.labels)}
    file = settings.out / COMMON
    if file.is_file():
        check_same_run(settings.out, header(file), metadata)
        return
    text, pooled = _texts(shards.flux, Text("", ""), settings.text_length)
    tensors = {"empty": text, EMPTY_POOLED: pooled} if settings.alone else {"empty": text}
    for bucket in shards.sizes:
        tensors[black_name(*bucket)] = encoded(shards.flux, [black(settings.condition, bucket)])[0]
    write(file, tensors, metadata)


def write_part(settings: LatentsSettings, shards: Shards, part: int, indices: range) -> None:
    """One file; samples that cannot be used are counted in its header."""
    tensors: dict[str, Tensor] = {}
    samples: dict[str, Any] = {}
    skipped: Counter[str] = Counter()
    for index in indices:
        try:
            made, samples[str(index)] = _sample(settings, shards, index)
        except SampleError as error:
            skipped[str(error)] += 1
        else:
            tensors |= {f"{index}.{name}": tensor for name, tensor in made.items()}
    write(part_file(settings.out, part), tensors, {"samples": samples, "skipped": dict(skipped)})


def _sample(
    settings: LatentsSettings, shards: Shards, index: int
) -> tuple[dict[str, Tensor], dict]:
    subset, bucket = shards.labels[index]
    # The crop of a sample follows from its number, whichever process makes it.
    row = shards.read(index, WHOLE, np.random.default_rng([settings.seed, index]))
    batch = shards.batch([row])
    prompt, _ = _texts(shards.flux, Text(row.text.clip, row.text.clip), settings.text_length)
    tensors = {
        "target": batch.target[0],
        "condition": batch.condition[0],
        "text": batch.text[0],
        "prompt": prompt,
        "pooled": batch.pooled[0],
    }
    if settings.shuffled:
        tensors[SHUFFLED] = _shuffled(settings, shards, index, row.text.clip)
    if settings.alone:
        text = text_of("", shards.triplets.reflection(index), WHOLE)
        tensors[ALONE], _ = _texts(shards.flux, text, settings.text_length)
    grids = {"grid": batch.grid, "condition_grid": batch.condition_grid}
    named = {
        "key": row.key,
        "subset": subset,
        "bucket": bucket,
        "prompt": int(shards.prompts[index]),
    }
    return tensors, {**named, **grids, "words": shards.words(index)}


def _shuffled(settings: LatentsSettings, shards: Shards, index: int, prompt: str) -> Tensor:
    """T5's states (n, d) of a prompt with another sample's reflection."""
    text = text_of(prompt, shards.another(index), WHOLE)
    return _texts(shards.flux, text, settings.text_length)[0]


def _texts(flux: Flux, text: Text, length: int) -> tuple[Tensor, Tensor]:
    states, pooled = encode_texts(flux, [text], length)
    return states[0], pooled[0]


def _summary(folder: Path, parts: int, unread: Counter[str]) -> str:
    skipped, samples = Counter(unread), 0
    for part in range(parts):
        metadata = header(part_file(folder, part))
        skipped.update(metadata["skipped"])
        samples += len(metadata["samples"])
    return f"{samples} samples are encoded in {folder}; left out: {reasons(skipped)}.\n"
