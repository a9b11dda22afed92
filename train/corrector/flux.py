"""The FLUX that is trained: loaded, described without loading, and sharded over processes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from reflectionflow_core.flux.branch import FluxInputs, velocity
from reflectionflow_core.flux.load import load_flux
from reflectionflow_core.flux.lora import CorrectorLora, target_shapes
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.miniature.model import FOLDER
from train.corrector.settings import Views
from train.processes import join, shares_weights

FLUX_1_DEV = {"guidance_embeds": True}  # diffusers' defaults for the rest are FLUX.1's


def load(views: Views, texts: bool = True) -> Flux:
    """FLUX on this process's device; parts are moved there on first use."""
    device = join(views.torch_device).device
    return load_flux(
        folder_of(views.model), dtype=views.dtype, device=device, plan="resident", texts=texts
    )


def folder_of(model: str) -> str | Path:
    return FOLDER if model == "miniature" else model


def structure(model: str) -> dict[str, Any]:
    """The transformer's configuration; FLUX.1-dev's if the model is not on this machine."""
    file = Path(folder_of(model)).expanduser() / "transformer" / "config.json"
    if not file.is_file():
        return FLUX_1_DEV
    config = json.loads(file.read_text(encoding="utf-8"))
    return {name: value for name, value in config.items() if not name.startswith("_")}


def bare(model: str) -> FluxTransformer2DModel:
    """The transformer without its weights."""
    with torch.device("meta"):
        return FluxTransformer2DModel(**structure(model))


class Network(nn.Module):
    """FLUX's transformer with the condition branch as one module call, which sharding needs."""

    def __init__(self, transformer: FluxTransformer2DModel) -> None:
        super().__init__()
        self.transformer = transformer
        if shares_weights():
            _share_out(self)

    def forward(self, inputs: FluxInputs, lora: CorrectorLora) -> Tensor:
        """The velocity. The LoRA is an argument, since every process trains all of it."""
        return velocity(self.transformer, inputs, lora)


def _share_out(network: Network) -> None:
    """Gives each process its part of every weight; a weight is gathered when it is used.

    The branch calls linears and norms directly, not blocks, so each of them is one sharding unit.
    """
    warnings.filterwarnings("ignore", message=".*returned a view tensor")
    for module in list(network.modules()):
        if next(module.parameters(recurse=False), None) is not None:
            fully_shard(module, reshard_after_forward=True)
    for path in target_shapes(network.transformer):
        # The LoRA is added in place; on a view this would remove the hook that gathers the weight.
        network.transformer.get_submodule(path).register_forward_hook(_copied)
    fully_shard(network)


def _copied(_module: nn.Module, _given: Any, output: Tensor) -> Tensor:
    return output.clone()
