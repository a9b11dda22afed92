"""The writer as it is trained, all of it or by a LoRA, and as it is saved: one plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from train.writer.settings import WriterSettings


def prepare(model: Any, settings: WriterSettings) -> Any:
    """The model with gradients where it learns; what learns is in fp32, for steps at usual rates
    are too small for bf16.
    """
    if settings.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if settings.tuning == "full":
        model.requires_grad_(True)
        model.model.visual.requires_grad_(settings.vision == "full")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def save_writer(
    model: Any, to: Path, settings: WriterSettings, weights: dict[str, Tensor] | None = None
) -> None:
    """The model in the form that `load_vlm` reads, its LoRA merged; it is not to be trained on.

    `weights` are its own, put together where they are sharded.
    """
    merged: Any = model.merge_and_unload() if isinstance(model, PeftModel) else model
    dtype = torch.bfloat16 if settings.weights == "bf16" else torch.float32
    if weights is not None:
        weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
        merged.config.dtype = dtype
    else:
        merged.to(dtype)
    merged.save_pretrained(to, state_dict=weights)
