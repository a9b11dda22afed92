"""Digests of base models: only with the same weights is a run resumed and are latents read."""

from __future__ import annotations

from pathlib import Path

from reflectionflow_core.flux.folders import local_folder
from reflectionflow_core.identity import digest
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import MINIATURE_WEIGHTS
from reflectionflow_core.texts import user_path

PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2")  # with weights, in diffusers


def check_place(model: str) -> None:
    """InputError for a name that is a path to nothing, which would be looked for on the hub.

    That is owner/name where the owner is a folder here, unless the hub's model is in its cache.
    """
    owner = model.partition("/")[0]
    if local_folder(model) is not None or not Path(owner).is_dir():
        return
    if not is_cached(model):
        raise InputError(
            f"There is no folder {model}. Check the path; if it is the name of a model on the hub, "
            f"download it first: hf download {model}."
        )


def is_cached(model: str) -> bool:
    """Whether a hub ID is in the hub's cache on this machine."""
    if local_folder(model) is not None:
        return False
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(model, f"{name}.json") for name in ("config", "model_index"))
    return any(isinstance(file, str) for file in found)


def digests_of(model: str) -> dict[str, str]:
    """Digests of a model's parts, or of its whole folder; of a hub ID only its name, since it may
    be downloaded later.

    `model` is a folder, a hub ID or "miniature". See `reflectionflow_core.identity.digest`.
    """
    folder = MINIATURE_WEIGHTS if model == "miniature" else user_path(model)
    if not folder.is_dir():
        return {"hub": model}
    parts = {name: folder / name for name in PARTS if (folder / name).is_dir()}
    return {name: digest(part) for name, part in (parts or {"base": folder}).items()}
