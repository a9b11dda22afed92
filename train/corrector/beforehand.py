"""Decides whether a training encodes its samples first.

This pays if each sample is used several times, because VAE and text encoders then run once per
sample instead of at every use. The disk must have room for all latents.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflectionflow_core.archive.files import make_folder
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.record import InputError
from train.checkpoints import Checkpoints
from train.corrector.encoded import COMMON, DIGEST, header, part_file
from train.corrector.flux import structure
from train.corrector.settings import AUTO, CorrectorSettings, Views
from train.latents.encoding import encode
from train.latents.estimate import sample_bytes
from train.latents.settings import LatentsSettings
from train.processes import join
from train.shard_lists import shards_in
from train.triplets import Triplets

FOLDER = "latents"  # in the run's folder
SEEN = 2.0  # encode first if a sample is used at least so often on average
ROOM = 0.5  # largest share of the free disk space


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether to encode first, and why."""

    first: bool
    reason: str


def choice_of(settings: CorrectorSettings, samples: int, processes: int) -> Choice:
    drawn = settings.steps * settings.batch * settings.accumulate * processes
    seen = drawn / max(1, samples)
    if seen < SEEN:
        return Choice(False, f"encoded as they are drawn, since each is seen {seen:.1f} times")
    need = samples * sample_bytes(latents_of(settings), _width(settings))
    free = shutil.disk_usage(_existing(settings.out)).free
    if need > ROOM * free:
        return Choice(
            False,
            f"encoded as they are drawn, since their latents take {need / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free",
        )
    said = f"encoded first, {need / 1e9:.2f} GB, since each is seen {seen:.1f} times"
    return Choice(True, said)


def encoded_first(settings: CorrectorSettings, flux: Flux | None = None) -> CorrectorSettings:
    """The settings with `latents` set to a folder, which is encoded if needed, or to None.

    A resumed run keeps its first decision.
    """
    if settings.latents != AUTO:
        return settings
    folder = settings.out / FOLDER
    process = join(settings.torch_device)
    with process.main_process_first():
        if process.is_main_process and _begins(settings):
            samples = len(Triplets(shards_in(settings.data)))
            if choice_of(settings, samples, process.num_processes).first:
                make_folder(folder)
        first = folder.is_dir()
    if first and _is_whole(folder):
        _check_data(folder, settings.data)
    elif first:
        sys.stderr.write(encode(latents_of(settings), flux))
    return settings.model_copy(update={"latents": folder if first else None})


def _begins(settings: CorrectorSettings) -> bool:
    """Whether nothing has been encoded or trained yet."""
    kept = Checkpoints(settings.out / "checkpoints", "corrector").files()
    return not kept and not (settings.out / FOLDER).is_dir()


def _is_whole(folder: Path) -> bool:
    """Whether all parts exist; the data themselves may be gone."""
    common = folder / COMMON
    parts = range(header(common)["parts"]) if common.is_file() else range(1)
    return all(part_file(folder, part).is_file() for part in parts)


def _check_data(folder: Path, data: str) -> None:
    """InputError if the data are not those that were encoded; they may be gone."""
    made = header(folder / COMMON)
    before, encoded = made["views"]["data"], made["samples"]
    try:
        found = None if data != before else Triplets(shards_in(data, fetch=False))
    except InputError:
        return
    changed = found is not None and (
        len(found) != encoded or made.get(DIGEST) not in (None, found.entries.digest())
    )
    if data != before or changed:
        raise InputError(
            f"The run in {folder.parent} encoded {encoded:,} samples of data={before} at its first "
            f"start and would not read others. Give latents=null to read data={data} as it is now."
        )


def latents_of(settings: CorrectorSettings) -> LatentsSettings:
    """How the samples of a training are encoded first."""
    views: dict[str, Any] = {name: getattr(settings, name) for name in Views.model_fields}
    return LatentsSettings(**views, out=settings.out / FOLDER, shuffled=True, alone=True)


def _width(settings: CorrectorSettings) -> int:
    return structure(settings.model).get("joint_attention_dim", 4096)


def _existing(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())
