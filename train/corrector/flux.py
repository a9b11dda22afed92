"""The FLUX that is trained on: loaded, described before it is loaded, shared out over processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from reflectionflow_core.flux.branch import FluxInputs, velocity
from reflectionflow_core.flux.load import load_flux
from reflectionflow_core.flux.lora import CorrectorLora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.miniature.model import FOLDER
from train.corrector.settings import Views
from train.fit import join

FLUX_1_DEV = {"guidance_embeds": True}  # diffusers' defaults are FLUX.1's for all else


def load(views: Views, texts: bool = True) -> Flux:
    """On this process's device, where each part goes when it is first used."""
    device = join(views.place).device
    return load_flux(
        folder_of(views.model), dtype=views.dtype, device=device, plan="resident", texts=texts
    )


def folder_of(model: str) -> str | Path:
    return FOLDER if model == "miniature" else model


def structure(model: str) -> dict[str, Any]:
    """The transformer's configuration; FLUX.1-dev's where the model is not on this machine."""
    file = Path(folder_of(model)).expanduser() / "transformer" / "config.json"
    if not file.is_file():
        return FLUX_1_DEV
    told = json.loads(file.read_text(encoding="utf-8"))
    return {name: value for name, value in told.items() if not name.startswith("_")}


class Network(nn.Module):
    """FLUX's transformer with the condition branch as one call, which sharding needs."""

    def __init__(self, transformer: FluxTransformer2DModel, sharded: bool = False) -> None:
        super().__init__()
        self.transformer = transformer
        if sharded:
            # The branch calls the linears and norms themselves, so each is a unit of its own.
            for module in list(self.modules()):
                if next(module.parameters(recurse=False), None) is not None:
                    fully_shard(module, reshard_after_forward=True)
            fully_shard(self)

    def forward(self, inputs: FluxInputs, lora: CorrectorLora) -> Tensor:
        """The velocity; the LoRA is given and not held, because it is trained whole everywhere."""
        return velocity(self.transformer, inputs, lora)
