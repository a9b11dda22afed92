"""The start of every training of Qwen2.5-VL: folder, base model and data."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from torch.cuda import device_count

from reflectionflow_core.record import InputError
from train.base_models import check_place, digests_of
from train.journal import DRY_RUN
from train.miniature.shards import write_shard
from train.processes import join
from train.qwen.data import SampleSource, Usable, mingled, readable, split
from train.qwen.guarded import sweep
from train.qwen.settings import MAY_CHANGE, MINIATURE, TINY, QwenSettings
from train.qwen.sizes import sizes_like
from train.qwen.tiny import miniature_words, save_tiny
from train.qwen.whole import whole
from train.reports import ReportSettings
from train.run_folder import MODELS, run_folder
from train.shard_lists import shards_in
from train.skipped import Skipped, reasons
from train.triplets import sibling_group

MEASURED_ON = "prompt is held out"
SHOWN_IN_MEASURING = "flawed picture is held out"
LOOKED_AT = 1000  # samples read to find out why none can be used

Kind = TypeVar("Kind")
AnySettings = TypeVar("AnySettings", bound=QwenSettings)


@contextmanager
def qwen_run(settings: QwenSettings) -> Iterator[None]:
    """A context that holds the run's folder and removes incomplete files of a killed run."""
    process = join(settings.torch_device)
    is_first, batches = process.is_main_process, settings.accumulate * process.num_processes
    _refuse_idle_gpus(settings)
    if settings.base != TINY:
        check_place(settings.base)
    record = {**settings.model_dump(mode="json"), "batches_a_step": batches}
    record[MODELS] = {} if settings.base == TINY else digests_of(settings.base)
    with run_folder(settings.out, record, MAY_CHANGE):
        if is_first:
            sweep(settings.out)
        yield
        if is_first:
            sweep(settings.out)


@contextmanager
def dry_run_settings(settings: AnySettings, **limits: int) -> Iterator[AnySettings]:
    """The run reduced to one step on a tiny model in a temporary folder.

    It uses generated data unless the real data are on this machine. `limits` are further settings
    that shorten the run.
    """
    is_here = _is_here(settings)
    with tempfile.TemporaryDirectory() as folder:
        changes = {
            "out": Path(folder) / DRY_RUN,
            "report": ReportSettings(),  # a dry run is no run
            "base": TINY,
            "data": settings.data if is_here else MINIATURE,
            "held_out": settings.held_out if is_here else None,
            "made": 16,
            "held_out_most": 8,
            "steps": 1,
            "batch": 2,
            "warmup": 0,
            "workers": 0,
            "save_every": 1,
            "eval_every": 1,
            **limits,
        }
        yield type(settings).model_validate({**settings.model_dump(), **changes})


def base_of(settings: QwenSettings, like: str = "") -> str:
    """The base model's folder or hub ID; "tiny" is made next to the run, similar to `like`."""
    if settings.base != TINY:
        return settings.base
    folder = settings.out / "base"
    with join().main_process_first():
        if not folder.is_dir():
            with whole(folder) as part:
                save_tiny(part, miniature_words(), sizes_like(like), settings.seed)
    return str(folder)


def data_of(settings: QwenSettings) -> tuple[str, str | None]:
    """Folders of training and held-out samples; "miniature" is made next to the run."""
    if settings.data != MINIATURE:
        return settings.data, settings.held_out
    folder = settings.out / "data"
    with join().main_process_first():
        if not folder.is_dir():
            with whole(folder) as part:
                families, most = settings.families, settings.held_out_most
                write_shard(part / "train.tar", settings.made, families, settings.seed)
                write_shard(part / "held_out.tar", most, families, settings.seed, held_out=True)
    return str(folder / "train.tar"), str(folder / "held_out.tar")


def sides_of(
    settings: QwenSettings, read: Callable[[str], SampleSource[Kind]]
) -> tuple[Usable[Kind], Usable[Kind], Skipped]:
    """Training samples, readable held-out samples, and counts of the excluded ones by reason."""
    data, held_out = data_of(settings)
    source = read(data)
    learnt, held = list(range(len(source))), source
    if held_out is not None:
        held = read(held_out)
        kept = list(range(len(held)))
    else:
        learnt, kept = split(source, settings.held_out_share)
    good, skipped = readable(held, mingled(kept), settings.held_out_most)
    if not good:
        usable, unread = readable(source, learnt[:LOOKED_AT], 1)
        if not usable:
            unread.merge(source.skipped)
            why = _reasons(unread)
            raise InputError(f"No sample of {data} can be used{why}. Check `data`.")
        raise InputError(
            f"There are no held-out samples{_reasons(skipped)}. Give `held_out`, or a larger "
            "`held_out_share`."
        )
    if (
        held is not source and settings.data != MINIATURE
    ):  # its grammar has its own held-out prompts
        tested = set(held.prompts[good].tolist()) - {0}
        learnt = [i for i, prompt in enumerate(source.prompts.tolist()) if prompt not in tested]
        skipped.merge(held.skipped)
        skipped.update({MEASURED_ON: len(source) - len(learnt)})
    elif shown := _sibling_groups(source, good):
        kept_apart = [i for i in learnt if sibling_group(source.key(i)) not in shown]
        skipped.update({SHOWN_IN_MEASURING: len(learnt) - len(kept_apart)})
        learnt = kept_apart
    skipped.merge(source.skipped)
    return Usable(source, learnt), Usable(held, good), skipped


def _sibling_groups(source: SampleSource[Any], indices: Iterable[int]) -> set[str]:
    """The groups of samples that share their flawed picture with others."""
    keys = {source.key(index) for index in indices}
    return {group for key in keys if (group := sibling_group(key)) != key}


def _reasons(skipped: Counter[str]) -> str:
    """Why samples were left out, the most frequent reason first, after a colon; or ""."""
    return f": {reasons(skipped)}" if skipped else ""


def _is_here(settings: QwenSettings) -> bool:
    """Whether the data of a run are on this machine."""
    try:
        for where in filter(None, (settings.data, settings.held_out)):
            if not where.endswith(".jsonl"):
                shards_in(where, fetch=False)
            elif not Path(where).expanduser().is_file():
                return False
    except InputError:
        return False
    return settings.data != MINIATURE


def _refuse_idle_gpus(settings: QwenSettings) -> None:
    """InputError if a process sees several GPUs: transformers would split a batch in pictures."""
    if settings.torch_device == "cuda" and join().num_processes == 1 and (n := device_count()) > 1:
        raise InputError(
            f"{n} GPUs are visible to one process. Start with `torchrun --nproc-per-node {n} -m "
            "...`, or show one: CUDA_VISIBLE_DEVICES=0."
        )
