"""Settings of a reward verifier's training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from reflectionflow_core.verifiers.reward_template import SLOT, TOKEN
from train.qwen.loras import LORA, LoraSettings
from train.qwen.settings import EFFECTS
from train.settings import SettingNeeds

TEMPLATE = (
    f"This picture was painted from a prompt: {SLOT}\n"
    "How well does it show what the prompt asks for, and how well is it made? "
    f"{TOKEN}"
)


ADAPTED = SettingNeeds("language=lora", lambda settings: settings.language == "lora")


class VerifierSettings(LoraSettings):
    template: str = Field(
        default=TEMPLATE, description=f"text around the prompt, with {SLOT} and {TOKEN}"
    )
    ties: float = Field(
        default=0.0,
        ge=0,
        description="Davidson's v: equally good pictures tie with "
        "probability v / (2 + v); 0: no ties",
    )
    language: Literal["lora", "full", "frozen"] = Field(
        default="lora", description="language model: trained by a LoRA, wholly or not at all"
    )
    vision: Literal["full", "frozen"] = Field(
        default="full", description="vision encoder: trained wholly or not at all"
    )
    effects: ClassVar = {**EFFECTS, **dict.fromkeys(LORA, ADAPTED)}
