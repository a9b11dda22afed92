"""Samples encoded beforehand: latents and text embeddings in safetensors files.

`common.safetensors` has what all samples share: the empty text and a black picture per size; its
header has the settings of the encoding. Each part has PART samples in the order of the shards and
is written atomically.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from reflectionflow_core.archive.files import replace_file
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.record import InputError
from train.base_models import digests_of
from train.corrector.samples import Dropped, Label, TrainingBatch
from train.corrector.settings import Views
from train.run_folder import MODELS
from train.triplets import SampleError, sibling_group

PART = 32
COMMON = "common.safetensors"
# Optional texts: with another sample's reflection; without the prompt.
SHUFFLED, ALONE, EMPTY_POOLED = "shuffled", "alone", "empty_pooled"
# Settings that must be equal for the encoding and the training.
DIGEST = "data_digest"  # of the samples, in the header of what all parts share
MUST_AGREE = ("target_size", "condition_size", "condition_fit", "max_aspect", "text_length")


def part_file(folder: Path, part: int) -> Path:
    return folder / f"part-{part:06d}.safetensors"


def black_name(width: int, height: int) -> str:
    return f"black.{width}x{height}"


def write(file: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(file, serialise(held, {"told": json.dumps(metadata)}))


def subsets_in(folder: Path) -> tuple[Counter[str], int]:
    """The encoded samples of each subset, and how many samples are left out or not yet encoded."""
    made = header(folder / COMMON)
    files = (part_file(folder, part) for part in range(made["parts"]))
    rows = [header(file)["samples"].values() for file in files if file.is_file()]
    found = Counter(str(sample["subset"]) for samples in rows for sample in samples)
    return found, made["samples"] - found.total()


def header(file: Path) -> dict[str, Any]:
    """The metadata of a file; InputError if it cannot be read."""
    try:
        with safe_open(file, framework="pt") as stored:
            return json.loads((stored.metadata() or {})["told"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"The latents in {file} cannot be read. Delete the file and run train.latents again."
        ) from error


@dataclass(frozen=True, slots=True)
class EncodedEntry:
    """Where an encoded sample is stored."""

    file: Path
    name: str
    key: str
    grid: tuple[int, int]
    condition_grid: tuple[int, int]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    entry: EncodedEntry
    target: Tensor
    condition: Tensor
    text: Tensor
    pooled: Tensor
    shown: bool


class Encoded:
    """A source of samples that needs neither VAE nor text encoders."""

    def __init__(self, folder: Path, views: Views, flux: Flux) -> None:
        self.flux = flux
        self.common = folder / COMMON
        if not self.common.is_file():
            raise InputError(f"No latents found in {folder}. Make them with train.latents.")
        made = header(self.common)
        _check_views(folder, made, views)
        files = [part_file(folder, part) for part in range(made["parts"])]
        if missing := sum(not file.is_file() for file in files):
            raise InputError(
                f"The latents in {folder} are incomplete: {missing} of {len(files)} parts are "
                "missing. Run train.latents again to resume it."
            )
        self.entries: list[EncodedEntry] = []
        self.labels: list[Label] = []
        prompts: list[int] = []
        groups: list[str] = []
        for file in files:
            for name, sample in header(file)["samples"].items():
                grids = _pair(sample["grid"]), _pair(sample["condition_grid"])
                self.entries.append(EncodedEntry(file, name, sample["key"], *grids))
                self.labels.append((sample["subset"], _pair(sample["bucket"])))
                prompts.append(sample.get("prompt", 0))  # missing in files of earlier versions
                groups.append(str(sample.get("group", sibling_group(sample["key"]))))
        self.alone = bool(made["views"].get(ALONE))
        self.groups = np.unique(groups, return_inverse=True)[1]
        self.prompts = np.array(prompts, np.uint64)
        self.empty = self._common("empty")
        wanted = flux.transformer.config["joint_attention_dim"]
        if self.empty.shape[1] != wanted:
            raise InputError(
                f"The texts in {folder} are {self.empty.shape[1]} wide, but this FLUX takes a "
                f"width of {wanted}. Encode them again with the same model."
            )

    def key(self, index: int) -> str:
        return self.entries[index].key

    def words(self, index: int) -> tuple[str, str]:
        entry = self.entries[index]
        prompt, reflection = header(entry.file)["samples"][entry.name].get("words", ("", ""))
        return prompt, reflection

    def read(self, index: int, drop: Dropped, rng: np.random.Generator) -> EncodedRow:
        del rng  # the latents have a fixed crop
        entry, (_, bucket) = self.entries[index], self.labels[index]
        try:
            stored = _opened(entry.file)
            nothing = drop.text or (drop.prompt and drop.reflection)
            text = self.empty if nothing else stored.get_tensor(f"{entry.name}.{_text(drop)}")
            target = stored.get_tensor(f"{entry.name}.target")
            condition = stored.get_tensor(f"{entry.name}.condition")
            own = stored.get_tensor(f"{entry.name}.pooled")
            pooled = self._common(EMPTY_POOLED) if drop.prompt else own
        except (OSError, SafetensorError) as error:
            raise SampleError("latents unreadable") from error
        if drop.image:
            condition = self._common(black_name(*bucket))
        return EncodedRow(entry, target, condition, text, pooled, not drop.image)

    def batch(self, rows: Sequence[EncodedRow]) -> TrainingBatch:
        entry = rows[0].entry
        return TrainingBatch(
            keys=tuple(row.entry.key for row in rows),
            target=self._stacked([row.target for row in rows]),
            grid=entry.grid,
            condition=self._stacked([row.condition for row in rows]),
            condition_grid=entry.condition_grid,
            text=self._stacked([row.text for row in rows]),
            pooled=self._stacked([row.pooled for row in rows]),
            shown=torch.tensor([row.shown for row in rows], device=self.flux.device),
        )

    def _common(self, name: str) -> Tensor:
        return _opened(self.common).get_tensor(name)

    def _stacked(self, tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(tensors)).to(self.flux.device, self.flux.dtype)


@lru_cache(maxsize=128)  # cached: reading a header takes longer than reading a small sample
def _opened(file: Path) -> Any:
    return safe_open(file, framework="pt")


def _text(drop: Dropped) -> str:
    """The name of the text for these drops."""
    if drop.shuffled:
        return SHUFFLED
    if drop.prompt:
        return ALONE
    return "prompt" if drop.reflection else "text"


def _pair(numbers: list[int]) -> tuple[int, int]:
    first, second = numbers
    return first, second


def _check_views(folder: Path, made: dict[str, Any], views: Views) -> None:
    for name in MUST_AGREE:
        if made["views"][name] != getattr(views, name):
            raise InputError(
                f"The latents in {folder} were made with {name}={made['views'][name]}, and the "
                f"training says {getattr(views, name)}. Make both the same."
            )
    now, then = digests_of(views.model), made.get(MODELS, {})
    if then.get("hub", views.model) != views.model and "hub" in now:
        raise InputError(
            f"The latents in {folder} were made with {then['hub']}, and the training names "
            f"{views.model}. Make them again in another folder, or give the model of before."
        )
    for part, before in then.items():
        if part != "transformer" and now.get(part, before) != before:
            raise InputError(
                f"The latents in {folder} were made with another {part} than that of "
                f"{views.model}. Make them again in another folder, or give the model of before."
            )
