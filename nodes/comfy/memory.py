"""FLUX's weights under ComfyUI's own memory management.

The core asks a Placement before every use of a module. This one gives each module to ComfyUI as a
separate model, so that ComfyUI can move any of them off the GPU when another needs the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

# Bytes to keep free for what a module computes: about 1 GB a sample in the transformer at
# 1024 x 1024 pixels, 3 GB to decode one picture.
ACTIVATIONS = 3 * 10**9


class Holder(nn.Module):
    """ModelPatcher sets `device` on its model, which diffusers and transformers forbid."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class ComfyPlacement:
    """The core's Placement: asks ComfyUI to load a module before every use."""

    def __init__(self) -> None:
        self.device: torch.device = mm.get_torch_device()

    @contextmanager
    def on_device(self, *modules: nn.Module) -> Iterator[None]:
        # Every time, because other models may have needed the memory since. Whole, because ComfyUI
        # streams only its own layers.
        mm.load_models_gpu(
            [self._patcher(module) for module in modules],
            memory_required=ACTIVATIONS,
            force_full_load=True,
        )
        yield

    def walk(self, blocks: Iterable[nn.Module]) -> Iterable[nn.Module]:
        return blocks

    def release(self) -> None:
        """Nothing to do: ComfyUI frees what it needs."""

    def _patcher(self, module: nn.Module) -> ModelPatcher:
        # Kept on the module, so that both are freed together.
        patcher = module.__dict__.get("comfy_patcher")
        if patcher is None or patcher.load_device != self.device:
            patcher = ModelPatcher(Holder(module), self.device, mm.unet_offload_device())
            module.__dict__["comfy_patcher"] = patcher
        return patcher


def to_intermediate_device(images: Tensor) -> Tensor:
    """An IMAGE on the device where ComfyUI keeps pictures between nodes."""
    return images.to(mm.intermediate_device())
