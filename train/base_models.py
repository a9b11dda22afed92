"""Digests of base models: only with the same weights is a run resumed and are latents read."""

from __future__ import annotations

from reflectionflow_core.identity import digest
from reflectionflow_core.registry import MINIATURE_WEIGHTS
from reflectionflow_core.texts import user_path

PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2")  # with weights, in diffusers


def digests_of(model: str) -> dict[str, str]:
    """Digests of a model's parts, or of its whole folder; empty for what is not on this machine.

    `model` is a folder, a hub ID or "miniature". See `reflectionflow_core.identity.digest`.
    """
    folder = MINIATURE_WEIGHTS if model == "miniature" else user_path(model)
    if not folder.is_dir():
        return {}
    parts = {name: folder / name for name in PARTS if (folder / name).is_dir()}
    return {name: digest(part) for name, part in (parts or {"base": folder}).items()}
