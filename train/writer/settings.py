"""Settings of a reflection writer's training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from train.gpus import LINKED_BY, SHARED, ShardingGpuSettings
from train.qwen.loras import LORA, LoraSettings
from train.qwen.settings import EFFECTS
from train.settings import SettingNeeds, Strict, ask_vlm, verifiers_in


class GainSettings(Strict):
    """Measures whether following the reflections improves pictures."""

    pictures: int = Field(
        default=0,
        ge=0,
        description="flawed pictures that are corrected at the end; 0: not measured",
    )
    during: int = Field(
        default=0,
        ge=0,
        description="flawed pictures that are corrected at each measurement; painter and "
        "verifier then share the memory with the writer",
    )
    batch: PositiveInt = Field(default=1, description="pictures per batch")
    model: str = Field(default="miniature", description="painter: miniature or a FLUX folder")
    lora: str | None = Field(default=None, description="LoRA of the corrector")
    verifier: str = Field(default="exact", description="verifier that scores the pictures")
    vlm: str | None = Field(
        default=None,
        description="vision-language model of the verifier: folder or endpoint:PROFILE",
    )
    reward_base: str | None = Field(
        default=None, description="base model of verifier=reward:FOLDER"
    )


ADAPTED = SettingNeeds("tuning=lora", lambda settings: settings.tuning == "lora")


class WriterSettings(LoraSettings):
    tuning: Literal["full", "lora"] = Field(
        default="full",
        description="all weights are trained, or a LoRA on the language model, which needs less "
        "memory",
    )
    vision: Literal["full", "frozen"] = Field(
        default="full", description="vision encoder: trained with the rest, or not at all"
    )
    max_answer: PositiveInt = Field(
        default=256, description="longest reflection in tokens; longer ones are cut"
    )
    answers: int = Field(
        default=64,
        ge=0,
        description="samples of the training and of the held-out data whose "
        "answers are generated and compared word by word",
    )
    gain: GainSettings = GainSettings()
    # Settings are frozen, so a narrower type is safe.
    gpu: ShardingGpuSettings = ShardingGpuSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    effects: ClassVar = {
        **EFFECTS,
        **dict.fromkeys(LORA, ADAPTED),
        "vision": SettingNeeds("tuning=full", lambda settings: settings.tuning == "full"),
        "gain": SettingNeeds(
            "gain.pictures or gain.during=1 or more",
            lambda settings: settings.gain.pictures or settings.gain.during,
        ),
        "gain.vlm": SettingNeeds(
            "a gain.verifier that asks a model, such as checklist",
            lambda settings: ask_vlm([settings.gain.verifier]),
        ),
        "gain.reward_base": SettingNeeds(
            "gain.verifier=reward:FOLDER",
            lambda settings: "reward" in verifiers_in([settings.gain.verifier]),
        ),
        "gpu.sharded": SHARED,
        "gpu.link_gb": LINKED_BY,
    }
