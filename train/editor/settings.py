"""Settings of an editing model's training; most are those of the corrector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from train.corrector.settings import MAY_CHANGE, Checking, LearningSettings

__all__ = ["MAY_CHANGE", "EditorSettings"]


class EditorSettings(LearningSettings):
    model: str = Field(
        default="black-forest-labs/FLUX.2-klein-base-4B",
        description="FLUX.2 [klein] in diffusers format: folder or hub ID",
    )
    out: Path = Path("runs/editor")
    condition_size: PositiveInt = Field(
        default=1024, description="longer side of the flawed picture in pixels", multiple_of=16
    )
    condition_fit: Literal["squash", "fit"] = Field(
        default="fit",
        description="how a flawed picture of another aspect is fitted, by default as a search "
        "shows it",
    )
    text_length: PositiveInt = Field(
        default=512, le=512, description="length of an instruction in tokens"
    )
    rank: PositiveInt = Field(default=32, description="rank of the LoRA; alpha is the same")
    validation: Checking = Checking()

    @property
    def checking(self) -> Checking:
        return self.validation

    @model_validator(mode="after")
    def _data_are_named(self) -> EditorSettings:
        if not self.data:
            raise ValueError("give data (shards)")
        return self
