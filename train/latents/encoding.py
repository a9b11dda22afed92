"""Encodes samples into files of PART samples: latents of both pictures, T5 states, CLIP vectors.

T5 states are stored with and without the reflection. Existing files are kept, so that a killed run
can be resumed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from reflectionflow_core.archive.files import locked, make_folder, sweep
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.text import Text, encode_texts
from reflectionflow_core.record import InputError
from train.base_models import check_place, digests_of
from train.corrector.encoded import (
    ALONE,
    COMMON,
    DIGEST,
    EMPTY_POOLED,
    PART,
    SHUFFLED,
    black_name,
    header,
    part_file,
    write,
)
from train.corrector.flux import load
from train.corrector.pairs import Size, black
from train.corrector.samples import WHOLE, SampleRow, Shards, encoded, text_of
from train.latents.settings import LatentsSettings
from train.processes import join, wait_for_all
from train.progress import progress
from train.run_folder import MODELS, check_same_run
from train.shard_lists import shards_in
from train.skipped import Skipped, reasons
from train.triplets import SampleError, Triplets

AT_ONCE = 8  # samples of one size per batch


def encode(settings: LatentsSettings, flux: Flux | None = None) -> str:
    """Writes all missing parts; returns a summary."""
    if flux is None:
        check_place(settings.model)
    process = join(settings.torch_device)
    # Long captions are common; T5 gets their first `text_length` tokens.
    warnings.filterwarnings("ignore", message="The text is .* tokens long")
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
        with progress("latents", 0, len(todo), "part", process.is_main_process) as show:
            for number, part in enumerate(todo, 1):
                first = part * PART
                write_part(settings, shards, part, range(first, min(first + PART, len(triplets))))
                show(number)
        wait_for_all()
        return _summary(settings.out, parts, triplets.skipped) if process.is_main_process else ""


def _start_or_resume(settings: LatentsSettings, shards: Shards, parts: int) -> None:
    """Writes what all parts share; InputError if the folder has latents of other settings."""
    views = settings.model_dump(mode="json", exclude={"out", "device", "gpu"})
    metadata = {"views": views, "parts": parts, "samples": len(shards.labels)}
    metadata |= {MODELS: digests_of(settings.model), DIGEST: shards.triplets.entries.digest()}
    file = settings.out / COMMON
    if file.is_file():
        first = header(file)
        if first.get(DIGEST, metadata[DIGEST]) != metadata[DIGEST]:
            raise InputError(
                f"The latents in {settings.out} are of other samples than those that are in "
                f"{settings.data} now. Choose another folder with out, or delete that one."
            )
        check_same_run(settings.out, first, {**metadata, DIGEST: first.get(DIGEST)})
        return
    text, pooled = _texts(shards.flux, Text("", ""), settings.text_length)
    tensors = {"empty": text, EMPTY_POOLED: pooled} if settings.alone else {"empty": text}
    for bucket in shards.sizes:
        tensors[black_name(*bucket)] = encoded(shards.flux, [black(settings.condition, bucket)])[0]
    write(file, tensors, metadata)


def write_part(settings: LatentsSettings, shards: Shards, part: int, indices: range) -> None:
    """Writes one file; unusable samples are counted in its header."""
    tensors: dict[str, Tensor] = {}
    samples: dict[str, Any] = {}
    skipped = Skipped()
    rows: dict[int, SampleRow] = {}
    for index in indices:
        try:
            # A sample's group determines its crop, in whichever process: siblings share theirs.
            rng = np.random.default_rng([settings.seed, int(shards.groups[index])])
            rows[index] = shards.read(index, WHOLE, rng)
        except SampleError as error:
            skipped.add(str(error), shards.key(index))
    for group in _alike(shards, rows):
        for index, made, about in _samples(settings, shards, {i: rows[i] for i in group}):
            samples[str(index)] = about
            tensors |= {f"{index}.{name}": tensor.clone() for name, tensor in made.items()}
    samples = {str(index): samples[str(index)] for index in rows}  # in the order of the shards
    names = {reason: list(named) for reason, named in skipped.names.items()}
    about = {"samples": samples, "skipped": dict(skipped), "names": names}
    write(part_file(settings.out, part), tensors, about)


def _alike(shards: Shards, rows: Iterable[int]) -> Iterator[list[int]]:
    """Samples of one size, at most AT_ONCE of them."""
    by_size: dict[Size, list[int]] = {}
    for index in rows:
        by_size.setdefault(shards.labels[index][1], []).append(index)
    for found in by_size.values():
        for start in range(0, len(found), AT_ONCE):
            yield found[start : start + AT_ONCE]


def _samples(
    settings: LatentsSettings, shards: Shards, rows: Mapping[int, SampleRow]
) -> Iterator[tuple[int, dict[str, Tensor], dict[str, Any]]]:
    """Number, tensors and description of each of these rows of one size."""
    batch = shards.batch(list(rows.values()))
    prompts = [row.text.clip for row in rows.values()]
    wanted = {"prompt": {i: Text(p, p) for i, p in zip(rows, prompts, strict=True)}}
    if settings.shuffled:
        wanted[SHUFFLED] = _shuffled(shards, rows)
    if settings.alone:
        wanted[ALONE] = {i: text_of("", shards.triplets.reflection(i), WHOLE) for i in rows}
    states = {name: _states(settings, shards.flux, texts) for name, texts in wanted.items()}
    for place, (index, row) in enumerate(rows.items()):
        tensors = {
            "target": batch.target[place],
            "condition": batch.condition[place],
            "text": batch.text[place],
            "pooled": batch.pooled[place],
            **{name: found[index] for name, found in states.items() if index in found},
        }
        subset, bucket = shards.labels[index]
        yield (
            index,
            tensors,
            {
                "key": row.key,
                "subset": subset,
                "bucket": bucket,
                "prompt": int(shards.prompts[index]),
                "group": int(shards.groups[index]),
                "grid": batch.grid,
                "condition_grid": batch.condition_grid,
                "words": shards.words(index),
            },
        )


def _shuffled(shards: Shards, rows: Mapping[int, SampleRow]) -> dict[int, Text]:
    """Each prompt with the reflection of another sample, if a different one is found nearby."""
    found: dict[int, Text] = {}
    for index, row in rows.items():
        with suppress(SampleError):
            found[index] = text_of(row.text.clip, shards.another(index), WHOLE)
    return found


def _states(settings: LatentsSettings, flux: Flux, texts: Mapping[int, Text]) -> dict[int, Tensor]:
    """T5 states (n, d) by the same numbers."""
    if not texts:
        return {}
    states, _ = encode_texts(flux, list(texts.values()), settings.text_length)
    return dict(zip(texts, states, strict=True))


def _texts(flux: Flux, text: Text, length: int) -> tuple[Tensor, Tensor]:
    states, pooled = encode_texts(flux, [text], length)
    return states[0], pooled[0]


def _summary(folder: Path, parts: int, unread: Skipped) -> str:
    skipped, samples = Skipped(), 0
    skipped.merge(unread)
    for part in range(parts):
        metadata = header(part_file(folder, part))
        skipped.update(metadata["skipped"])
        for reason, names in metadata.get("names", {}).items():
            skipped.names.setdefault(reason, {}).update(dict.fromkeys(names))
        samples += len(metadata["samples"])
    return f"{samples} samples are encoded in {folder}; left out: {reasons(skipped)}.\n"
