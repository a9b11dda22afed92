"""Latents of both pictures, T5's states with and without the reflection and CLIP's vector of every
sample, in files of PART samples; what is there is not made again, so a killed run goes on.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.progress import track
from torch import Tensor

from reflectionflow_core.archive.files import locked, make_folder, sweep
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.text import Text, encode_texts
from reflectionflow_core.record import InputError
from train.corrector.batches import reasons
from train.corrector.encoded import COMMON, PART, black_name, header, part_file, write
from train.corrector.flux import load
from train.corrector.pairs import black
from train.corrector.samples import WHOLE, Shards, encoded
from train.corrector.settings import Views
from train.processes import join, wait_for_all
from train.triplets import SampleError, Triplets, shards_in


class Settings(Views):
    out: Path = Field(default=Path("runs/latents"), description="folder of the encoded samples")


def plan(settings: Settings) -> str:
    """What the files will take."""
    try:
        count = len(Triplets(shards_in(settings.data)))
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


def encode(settings: Settings, flux: Flux | None = None) -> None:
    """Writes every part that is not there yet."""
    process = join(settings.place)
    triplets = Triplets(shards_in(settings.data))
    make_folder(settings.out)
    with locked(settings.out) if process.is_main_process else nullcontext():
        flux = flux or load(settings)
        shards = Shards(flux, triplets, settings)
        parts = -(-len(triplets) // PART)
        if process.is_main_process:
            sweep(settings.out, "*.safetensors")
            _begin(settings, shards, parts)
        wait_for_all()
        mine = range(process.process_index, parts, process.num_processes)
        todo = [part for part in mine if not part_file(settings.out, part).is_file()]
        for part in track(todo, "latents", disable=not process.is_main_process):
            first = part * PART
            write_part(settings, shards, part, range(first, min(first + PART, len(triplets))))
        wait_for_all()
        if process.is_main_process:
            sys.stdout.write(_summary(settings.out, parts, triplets.skipped))


def _begin(settings: Settings, shards: Shards, parts: int) -> None:
    """What all parts share; a folder that was made in another way is refused."""
    made = settings.model_dump(mode="json", exclude={"out", "device"})
    told = {"views": made, "parts": parts, "samples": len(shards.labels)}
    file = settings.out / COMMON
    if file.is_file():
        if header(file) != told:
            raise InputError(
                f"{settings.out} holds latents of other data or settings. Choose another folder."
            )
        return
    text, _ = _texts(shards.flux, Text("", ""), settings.text_length)
    tensors = {"empty": text}
    for bucket in shards.sizes:
        tensors[black_name(*bucket)] = encoded(shards.flux, [black(settings.condition, bucket)])[0]
    write(file, tensors, told)


def write_part(settings: Settings, shards: Shards, part: int, indices: range) -> None:
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


def _sample(settings: Settings, shards: Shards, index: int) -> tuple[dict[str, Tensor], dict]:
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
    grids = {"grid": batch.grid, "condition_grid": batch.condition_grid}
    return tensors, {"key": row.key, "subset": subset, "bucket": bucket, **grids}


def _texts(flux: Flux, text: Text, length: int) -> tuple[Tensor, Tensor]:
    states, pooled = encode_texts(flux, [text], length)
    return states[0], pooled[0]


def _summary(folder: Path, parts: int, unread: Counter[str]) -> str:
    skipped, samples = Counter(unread), 0
    for part in range(parts):
        told = header(part_file(folder, part))
        skipped.update(told["skipped"])
        samples += len(told["samples"])
    return f"{samples} samples are encoded in {folder}; left out: {reasons(skipped)}.\n"
