"""How every training on a Qwen2.5-VL begins: one program to a folder, a base, and data."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from pydantic import BaseModel

from reflectionflow_core.archive.files import locked, make_folder, replace_file
from reflectionflow_core.record import InputError
from train.miniature.shards import write_shard
from train.processes import join
from train.qwen.data import Source, Usable, readable, split
from train.qwen.guarded import sweep
from train.qwen.settings import FREE, MINIATURE, TINY, QwenSettings
from train.qwen.sizes import sizes_like
from train.qwen.tiny import miniature_words, save_tiny
from train.qwen.whole import whole
from train.triplets import shards_in

SETTINGS = "settings.json"
Kind = TypeVar("Kind")


@contextmanager
def begun(settings: QwenSettings) -> Iterator[None]:
    """Holds the run's folder. A folder with a run of other settings is refused."""
    state = join(settings.device)
    _refuse_idle_gpus(settings, state.num_processes)
    if not state.is_main_process:
        state.wait_for_everyone()
        yield
        return
    make_folder(settings.out)
    with locked(settings.out):
        sweep(settings.out)
        _remember(settings)
        state.wait_for_everyone()
        yield
        sweep(settings.out)


def tell(text: str) -> None:
    """Once, however many processes share the work."""
    if PartialState().is_main_process:
        sys.stdout.write(text)


def base_of(settings: QwenSettings, like: str = "") -> str:
    """The base's folder or hub id; "tiny" is made beside the run, with the parts of `like`."""
    if settings.base != TINY:
        return settings.base
    folder = settings.out / "base"
    with PartialState().main_process_first():
        if not folder.is_dir():
            with whole(folder) as part:
                save_tiny(part, miniature_words(), sizes_like(like), settings.seed)
    return str(folder)


def places_of(settings: QwenSettings) -> tuple[str, str | None]:
    """Where the samples lie, and the held-out ones; "miniature" is made beside the run."""
    if settings.data != MINIATURE:
        return settings.data, settings.held_out
    folder = settings.out / "data"
    with PartialState().main_process_first():
        if not folder.is_dir():
            with whole(folder) as part:
                families, most = settings.families, settings.held_out_most
                write_shard(part / "train.tar", settings.made, families, settings.seed)
                write_shard(part / "held_out.tar", most, families, settings.seed, held_out=True)
    return str(folder / "train.tar"), str(folder / "held_out.tar")


def sides_of(
    settings: QwenSettings, read: Callable[[str], Source[Kind]]
) -> tuple[Usable[Kind], Usable[Kind], Counter[str]]:
    """Samples to learn from, and held-out ones, each of which can be read; and what was left out
    so far, by reason.
    """
    place, held_place = places_of(settings)
    source = read(place)
    learnt, held = list(range(len(source))), source
    if held_place is not None:
        held = read(held_place)
        kept = list(range(len(held)))
    else:
        learnt, kept = split(source, settings.held_out_share)
    good, skipped = readable(held, kept, settings.held_out_most)
    if not good:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in skipped.most_common())
        raise InputError(
            f"No sample is held out to measure on{f': {reasons}' if reasons else ''}. "
            "Give `held_out`, or a larger `held_out_share`."
        )
    if held is not source:
        skipped += held.skipped
    return Usable(source, learnt), Usable(held, good), skipped + source.skipped


def is_here(settings: QwenSettings) -> bool:
    """Whether the data of a run lie on this machine."""
    try:
        for where in filter(None, (settings.data, settings.held_out)):
            if not where.endswith(".jsonl"):
                shards_in(where)
            elif not Path(where).expanduser().is_file():
                return False
    except InputError:
        return False
    return settings.data != MINIATURE


def _refuse_idle_gpus(settings: QwenSettings, processes: int) -> None:
    """transformers would cut one batch for all GPUs, and pictures in the middle."""
    if settings.device == "cuda" and processes == 1 and (gpus := torch.cuda.device_count()) > 1:
        raise InputError(
            f"{gpus} GPUs are visible to one process. Start with "
            f"`torchrun --nproc-per-node {gpus} -m ...`, or show one: CUDA_VISIBLE_DEVICES=0."
        )


def _remember(settings: BaseModel) -> None:
    """Writes down how the run was begun; InputError where it goes on differently."""
    told: dict[str, Any] = settings.model_dump(mode="json")
    out = Path(told["out"])
    file = out / SETTINGS
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        for name in sorted({*before, *told} - FREE):
            if before.get(name) != told.get(name):
                raise InputError(
                    f"{out} holds a run with {name}={before.get(name)}, not {told.get(name)}. "
                    "Give the same, or another `out`."
                )
    replace_file(file, f"{json.dumps(told, indent=2)}\n".encode())
