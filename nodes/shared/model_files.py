"""The model files that ComfyUI knows: their names, their paths, and whether they changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...reflectionflow_core.flux.folders import lora_files
from ...reflectionflow_core.registry import MINIATURE_WEIGHTS
from ..comfy.diffusers_flux import MINIATURE


def flux_folders() -> dict[str, Path]:
    """The FLUX folders below every models/diffusers, by their path there."""
    roots = map(Path, folder_paths.get_folder_paths("diffusers"))
    found = model_folders(roots, lambda folder: (folder / "model_index.json").is_file())
    found.pop(MINIATURE, None)  # the name is taken
    return found


def model_folders(roots: Iterable[Path], is_model: Callable[[Path], bool]) -> dict[str, Path]:
    """The models' folders below the roots, by their path there; the first root wins."""
    found: dict[str, Path] = {}
    for root in roots:
        for name, below, _ in os.walk(root, followlinks=True):
            folder = Path(name)
            if is_model(folder):
                below.clear()  # its parts are not separate models
                found.setdefault(folder.relative_to(root).as_posix(), folder)
            below[:] = [each for each in below if not _leads_back(folder / each)]
    return found


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to one of the folders above it."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def lora_input() -> io.Input:
    return io.Combo.Input(
        "lora",
        options=lora_names(),
        tooltip="A corrector LoRA in models/loras. A style LoRA is refused: load it onto FLUX "
        'itself. "miniature" is the built-in one, for the miniature only.',
    )


def lora_names() -> list[str]:
    return [*folder_paths.get_filename_list("loras"), MINIATURE]


def lora_path(lora: str) -> str:
    if lora == MINIATURE:
        return str(MINIATURE_WEIGHTS / "corrector" / "pytorch_lora_weights.safetensors")
    return folder_paths.get_full_path_or_raise("loras", lora)


def lora_stamp(lora: str | None) -> str:
    if not lora or lora not in lora_names():
        return ""
    return stamp(*lora_files(Path(lora_path(lora))))


def check_lora(lora: str | None) -> bool | str:
    """True, or an error if there is no such file; None is a wired name, known only later."""
    if lora is None or lora in lora_names():
        return True
    return missing(
        f"LoRA named {lora}" if lora else "LoRA",
        "models/loras",
        "Download the corrector there (see the README), and choose it.",
    )


def stamp(*paths: Path) -> str:
    """Changes when a weight file changes, so that a replaced model is loaded again.

    A digest, because ComfyUI stores it in every picture, and folders are private.
    """
    files = [file for path in paths for file in (sorted(path.rglob("*")) or [path])]
    stats = [(file, file.stat()) for file in files if file.is_file()]
    text = "; ".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def missing(what: str, where: str, remedy: str) -> str:
    return f"There is no {what} in {where}. {remedy}"
