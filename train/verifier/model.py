"""The reward model in training: Qwen2.5-VL with a LoRA, a special token and a head.

Checkpoints have the layout of the published verifier and can be read by `load_reward`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reflectionflow_core.record import InputError
from reflectionflow_core.verifiers.reward_folder import (
    ADAPTER,
    EMBEDDING,
    HEAD,
    LORA_FACTOR,
    SETTINGS,
    TEMPLATE,
    TRAINED,
)
from reflectionflow_core.verifiers.reward_forward import rewards
from train.qwen.loras import lora_of
from train.verifier.settings import VerifierSettings

TOKEN_ROW = "token.safetensors"  # fp32; the embedding table may be bf16
PREFIX = "base_model.model."  # PEFT's prefix of every name


class RewardModel(nn.Module):
    """Rewards of a batch made by `encode_rows`; changes `backbone` in place.

    Trained weights are in fp32, because steps at usual rates are too small for bf16.
    """

    def __init__(self, backbone: Any, token: int, settings: VerifierSettings) -> None:
        super().__init__()
        backbone.requires_grad_(False)
        if settings.language == "lora":
            inject_adapter_in_model(lora_of(settings), backbone)
        if settings.language == "full":
            backbone.language_model.requires_grad_(True)
        backbone.visual.requires_grad_(settings.vision == "full")
        table = backbone.get_input_embeddings()
        table.register_forward_hook(self._with_token)
        self.backbone, self.token_id = backbone, token
        self.token = nn.Parameter(table.weight[token].detach().clone())
        self.rm_head = nn.Linear(table.weight.shape[1], 1, bias=False, device=table.weight.device)
        for parameter in self.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Rewards (rows,) in fp32."""
        return rewards(self.backbone, self.rm_head.weight, batch, self.token_id)

    def _with_token(self, _: nn.Module, given: tuple[Tensor], found: Tensor) -> Tensor:
        """Trains only this row of the embedding table; Adam stores no moments for the others."""
        return torch.where((given[0] == self.token_id)[..., None], self.token.to(found), found)


def save_reward(model: RewardModel, processor: Any, settings: VerifierSettings, to: Path) -> None:
    """Writes what `load_reward` needs: weights, tokenizer, template, settings."""
    loras, rest = _trained(model)
    table: Tensor = model.backbone.get_input_embeddings().weight.detach().clone()
    table[model.token_id] = model.token.detach().to(table)
    rest |= {EMBEDDING: table, HEAD: model.rm_head.weight.detach()}
    save_file({PREFIX + name: tensor for name, tensor in loras.items()}, to / ADAPTER)
    torch.save({PREFIX + name: tensor.cpu() for name, tensor in rest.items()}, to / TRAINED)
    save_file({"token": model.token.detach().cpu()}, to / TOKEN_ROW)
    processor.tokenizer.save_pretrained(to / "tokenizer")
    (to / TEMPLATE).write_text(settings.template, encoding="utf-8")
    (to / SETTINGS).write_text(json.dumps(told_of(settings), indent=2) + "\n", encoding="utf-8")


def load_trained(model: RewardModel, folder: Path) -> None:
    """Loads what `save_reward` wrote, bit for bit; InputError if something is missing."""
    found = torch.load(folder / TRAINED, map_location="cpu", weights_only=True)
    found |= load_file(folder / ADAPTER)
    found = {name.removeprefix(PREFIX): tensor for name, tensor in found.items()}
    loras, rest = _trained(model)
    if missing := {*loras, *rest} - set(found):
        raise InputError(
            f"{folder} lacks {len(missing)} trained tensors, such as {min(missing)}. Resume with "
            "the settings that it was trained with."
        )
    with torch.no_grad():
        for name, tensor in {**loras, **rest}.items():
            tensor.copy_(found[name])  # a view of the model's memory
        model.rm_head.weight.copy_(found[HEAD])
        model.token.copy_(load_file(folder / TOKEN_ROW)["token"])


def told_of(settings: VerifierSettings) -> dict[str, Any]:
    """The content of model_config.json, with upstream's names."""
    return {
        "data_config": {"max_frame_pixels": settings.max_pixels},
        "model_config": {"use_special_tokens": True, "output_dim": 1, "reward_token": "special"},
        "peft_lora_config": {"lora_alpha": settings.lora_alpha, "lora_r": settings.lora_rank},
        "inference_config": {"VQ_mean": 0.0, "VQ_std": 1.0},
    }


def _trained(model: RewardModel) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's trained tensors by their checkpoint names: those of LoRAs, and others."""
    sides: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
    for name, parameter in model.backbone.named_parameters():
        if parameter.requires_grad:
            is_lora = LORA_FACTOR.search(name) is not None
            sides[not is_lora][name.replace(".default.", ".")] = parameter.detach()
    return sides
