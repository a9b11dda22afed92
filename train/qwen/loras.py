"""The LoRA of a Qwen2.5-VL, on all linear layers of its language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from train.qwen.settings import QwenSettings

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn

LINEAR = r"(.*\.)?language_model\..*\.(q|k|v|o|gate|up|down)_proj"


LORA = ("lora_rank", "lora_alpha", "lora_dropout")


class LoraSettings(QwenSettings):
    lora_rank: PositiveInt = 16
    lora_alpha: PositiveInt = Field(default=32, description="the LoRA is scaled by alpha / rank")
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)


def lora_weights(model: nn.Module) -> int:
    """How many weights of a model are those of its LoRA."""
    return sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)


def lora_of(settings: LoraSettings) -> LoraConfig:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=LINEAR,
    )
