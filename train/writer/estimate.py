"""Memory and time of a reflection writer's training."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft import inject_adapter_in_model
from transformers import AutoModelForImageTextToText

from reflectionflow_core.record import InputError
from train.qwen.estimate import QwenLoad, estimate_of, samples_of, stacks_of
from train.qwen.loras import lora_of, lora_weights
from train.qwen.sizes import architecture
from train.writer.chats import chats_in
from train.writer.model import prepare
from train.writer.settings import WriterSettings


def estimate(settings: WriterSettings) -> str:
    if settings.tuning == "lora" and settings.gpu.shares_weights:
        raise InputError(
            "The base model of a LoRA cannot be sharded. Give gpu.sharded=false, or tuning=full."
        )
    found = samples_of(settings, partial(chats_in, fetch=False))
    return estimate_of(settings, load_of, found, written=2 * settings.answers)


def load_of(settings: WriterSettings) -> QwenLoad:
    config = architecture(settings.base)
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
        prepare(model, settings)
        if settings.tuning == "lora":
            inject_adapter_in_model(lora_of(settings), model)
    head = 0 if config.tie_word_embeddings else model.lm_head.weight.numel()
    trained = head if settings.tuning == "full" else 0
    stacks = stacks_of(model.model, config, settings, pictures=1)
    return QwenLoad(stacks, head, trained, added=lora_weights(model))
