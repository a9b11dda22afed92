"""Digests of the models that ComfyUI has loaded."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor


def weights_digest(model: ModelPatcher) -> str:
    """SHA-256 of a few numbers of every weight and of every patch.

    It does not depend on whether ComfyUI has merged the patches into the weights.
    """
    whole = hashlib.sha256()
    for name, tensor in model.model.state_dict().items():
        unpatched = model.backup[name].weight if name in model.backup else tensor
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        whole.update(_some(unpatched))
    for name, patches in sorted(model.patches.items()):
        for strength, patch, *_ in patches:
            whole.update(f"{name} {strength}".encode())
            for tensor in _tensors(patch):
                whole.update(_some(tensor))
    return whole.hexdigest()


def _some(tensor: Tensor, count: int = 16) -> bytes:
    plain = getattr(tensor, "_qdata", tensor).detach()  # newer ComfyUI wraps what is quantised
    flat = plain.as_subclass(Tensor).reshape(-1)
    few = flat[:: max(1, len(flat) // count)].cpu().contiguous()
    return few.view(torch.uint8).numpy().tobytes()


def _tensors(patch: Any) -> list[Tensor]:
    if isinstance(patch, Tensor):
        return [patch]
    parts = getattr(patch, "weights", patch)
    return [t for p in parts for t in _tensors(p)] if isinstance(parts, (list, tuple)) else []
