"""Settings of the training of a reflection writer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveInt

from train.gpus import LINKED_BY, SHARED, ShardingGpuSettings
from train.qwen.loras import LORA, LoraSettings
from train.qwen.settings import EFFECTS
from train.settings import SettingNeeds, Strict, ask_vlm, verifiers_in


class GainSettings(Strict):
    """Who paints and judges when it is measured whether following the reflections helps."""

    pictures: int = Field(
        default=0, ge=0, description="flawed ones that are corrected at the end; 0: none"
    )
    during: int = Field(
        default=0,
        ge=0,
        description="this many at each measurement too; painter and judge are then in memory "
        "beside the writer",
    )
    batch: PositiveInt = Field(default=1, description="pictures that are corrected at once")
    model: str = Field(default="miniature", description="or a FLUX folder")
    lora: str | None = Field(default=None, description="the corrector's LoRA")
    verifier: str = Field(default="exact", description="who scores, by its name in the registry")
    vlm: str | None = Field(default=None, description="folder or endpoint:PROFILE it asks")
    reward_base: str | None = Field(
        default=None, description="for verifier=reward:FOLDER, the model it was trained from"
    )


ADAPTED = SettingNeeds("tuning=lora", lambda settings: settings.tuning == "lora")


class WriterSettings(LoraSettings):
    tuning: Literal["full", "lora"] = "full"
    vision: Literal["full", "frozen"] = Field(default="full", description="with full tuning")
    max_answer: PositiveInt = Field(default=256, description="tokens; longer reflections are cut")
    answers: int = Field(
        default=64, ge=0, description="of each side that are written out and compared word by word"
    )
    gain: GainSettings = GainSettings()
    # Settings are frozen, so a narrower kind is safe.
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
