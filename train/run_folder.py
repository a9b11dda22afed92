"""A run's folder: locked by one process, and resumed only with the settings of its first start."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from reflectionflow_core.archive.files import locked, make_folder, remove, replace_file
from reflectionflow_core.record import InputError
from reflectionflow_core.texts import parse_json

SETTINGS = "settings.json"
# What a training makes; latents are not listed, since they record their own settings.
BEGUN = ("base", "data")  # folders made from the settings before the first step
MADE = ("*.jsonl", "checkpoint*", *BEGUN)
MODELS = "models"  # digests of models in a record
WORK = "work"  # digests of what the data engine reads
SHOWN = 5  # differing settings listed by an error


@contextmanager
def run_folder(
    folder: Path, settings: Mapping[str, Any], may_change: Collection[str] = ()
) -> Iterator[None]:
    """Locks the folder; of several processes the first locks it and the others wait."""
    from train.processes import join, wait_for_all  # the data engine needs no torch

    is_first = join().is_main_process
    with output_folder(folder), locked(folder) if is_first else nullcontext():
        if is_first:
            start_or_resume(folder / SETTINGS, settings, may_change)
        wait_for_all()
        with forgotten(folder / SETTINGS, MADE, BEGUN) if is_first else nullcontext():
            yield


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """A context with this folder, which is removed again if a refused start leaves it empty."""
    existed = folder.is_dir()
    make_folder(folder)
    try:
        yield
    except InputError:
        if not existed:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        raise


@contextmanager
def forgotten(settings: Path, made: Iterable[str], begun: Collection[str] = ()) -> Iterator[None]:
    """A context that removes the file of settings if a start is refused before it made anything.

    The message may ask for other settings, which `start_or_resume` would then refuse. `made` are
    patterns of what depends on the settings. Folders `begun` by this start go with the file.
    """
    folder = settings.parent
    new = [folder / name for name in begun if not (folder / name).exists()]
    try:
        yield
    except InputError:
        if not set(chain.from_iterable(map(folder.glob, made))) - {*new}:
            for each in new:
                shutil.rmtree(each, ignore_errors=True)
            remove(settings)
        raise


def start_or_resume(
    file: Path, settings: Mapping[str, Any], may_change: Collection[str] = ()
) -> None:
    """Writes the settings at the first start; InputError if a resumed run has other settings."""
    if not file.is_file():
        replace_file(file, json.dumps(settings, indent=2).encode() + b"\n")
        return
    try:
        first = parse_json(file.read_bytes())
        if not isinstance(first, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}). Choose another folder.") from error
    check_same_run(file.parent, first, settings, may_change)


def check_same_run(
    folder: Path,
    first: Mapping[str, Any],
    now: Mapping[str, Any],
    may_change: Collection[str] = (),
) -> None:
    """InputError if settings or the digests of models differ, except settings in `may_change` and
    in its groups, and models that an earlier version did not record."""
    if not first.get(MODELS):  # earlier versions recorded nothing of models on the hub
        now = {name: value for name, value in now.items() if name != MODELS}
    before, after = dict(_flat(first)), dict(_flat(now))
    differing = [
        name
        for name in {**before, **after}
        if not any(f"{name}.".startswith(f"{each}.") for each in may_change)
        and before.get(name) != after.get(name)
    ]
    groups = {group: _within(differing, group) for group in (MODELS, WORK)}
    if models := groups[MODELS]:
        raise InputError(
            f"The run in {folder} was started with other weights ({', '.join(models)}). "
            "Give the same model to resume it, or choose another folder."
        )
    others = [name for name in differing if not name.startswith(f"{WORK}.")]
    if others:
        said = (
            f"{_shown(name)}={before.get(name)!r} (now {after.get(name)!r})"
            for name in others[:SHOWN]
        )
        raise InputError(
            f"The run in {folder} was started with {', '.join(said)}. "
            "Give the same settings to resume it, or choose another folder."
        )
    if work := groups[WORK]:
        raise InputError(
            f"The run in {folder} was started with other prompts or files ({', '.join(work)}). "
            "Give those of the first start to resume it, or choose another folder."
        )
    _tell_of_rates(first, now)


def _shown(name: str) -> str:
    """What a user calls an entry of the record."""
    name = name.removeprefix("settings.")
    return "accumulate times processes" if name == "batches_a_step" else name


def _within(names: Iterable[str], group: str) -> list[str]:
    return [name.partition(".")[2] for name in names if name.startswith(f"{group}.")]


def _tell_of_rates(first: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Says that other `steps` are another course of the learning rate, if it falls."""
    before, after = first.get("steps"), now.get("steps")
    optimiser = now.get("optimiser")
    falls = optimiser["decay"] > 0 if isinstance(optimiser, Mapping) else True
    if before and after and before != after and falls:
        sys.stderr.write(
            f"This run was started with steps={before}, now steps={after}: the learning rate "
            f"falls until step {after:,}, so it is another one from here on.\n"
        )


def _flat(record: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    """Values as read back from JSON, by their full names."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{group}{name}.")
        else:
            yield f"{group}{name}", json.loads(json.dumps(value))
