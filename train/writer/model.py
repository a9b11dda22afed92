"""The writer in training, fully or by a LoRA, and its saved form: a plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from train.writer.settings import WriterSettings


def prepare(model: Any, settings: WriterSettings) -> Any:
    """The model with gradients for its trained weights.

    Trained weights are in fp32, because steps at usual rates are too small for bf16.
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
    """Saves the model for `load_vlm`, with its LoRA merged; it must not be trained afterwards.

    `weights` are the gathered weights if the model is sharded.
    """
    merged: Any = model.merge_and_unload() if isinstance(model, PeftModel) else model
    dtype = torch.bfloat16 if settings.weights == "bf16" else torch.float32
    if weights is not None:
        weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
        merged.config.dtype = dtype
    else:
        merged.to(dtype)
    merged.save_pretrained(to, state_dict=weights)
