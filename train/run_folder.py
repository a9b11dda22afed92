"""A run's folder: locked by one process, and resumed only with the settings of its first start."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from reflectionflow_core.archive.files import locked, make_folder, remove, replace_file
from reflectionflow_core.record import InputError
from reflectionflow_core.texts import parse_json

SETTINGS = "settings.json"
# What a training makes; latents are not listed, since they record their own settings.
MADE = ("*.jsonl", "checkpoint*", "base", "data")
MODELS = "models"  # digests of models in a record
SHOWN = 5  # differing settings listed by an error


@contextmanager
def run_folder(
    folder: Path, settings: Mapping[str, Any], may_change: Collection[str] = ()
) -> Iterator[None]:
    """Locks the folder; of several processes the first locks it and the others wait."""
    from train.processes import join, wait_for_all  # the data engine needs no torch

    is_first = join().is_main_process
    make_folder(folder)
    with locked(folder) if is_first else nullcontext():
        if is_first:
            start_or_resume(folder / SETTINGS, settings, may_change)
        wait_for_all()
        with forgotten(folder / SETTINGS, MADE) if is_first else nullcontext():
            yield


@contextmanager
def forgotten(settings: Path, made: Iterable[str]) -> Iterator[None]:
    """A context that removes the file of settings if a start is refused before it made anything.

    The message may ask for other settings, which `start_or_resume` would then refuse. `made` are
    patterns of what depends on the settings.
    """
    try:
        yield
    except InputError:
        if not any(chain.from_iterable(map(settings.parent.glob, made))):
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
    if MODELS not in first:
        now = {name: value for name, value in now.items() if name != MODELS}
    before, after = dict(_flat(first)), dict(_flat(now))
    differing = [
        f"{name}={before.get(name)!r} (now {after.get(name)!r})"
        for name in {**before, **after}
        if not any(f"{name}.".startswith(f"{each}.") for each in may_change)
        and before.get(name) != after.get(name)
    ]
    others = [name for name in {**before, **after} if name.startswith(f"{MODELS}.")]
    if changed := [name for name in others if before.get(name) != after.get(name)]:
        names = ", ".join(name.partition(".")[2] for name in changed)
        raise InputError(
            f"The run in {folder} was started with other weights ({names}). "
            "Give the same model to resume it, or choose another folder."
        )
    if differing:
        raise InputError(
            f"The run in {folder} was started with {', '.join(differing[:SHOWN])}. "
            "Give the same settings to resume it, or choose another folder."
        )


def _flat(record: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    """Values as read back from JSON, by their full names."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{group}{name}.")
        else:
            yield f"{group}{name}", json.loads(json.dumps(value))
