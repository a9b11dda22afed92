"""Settings of train.latents: those of the training's pictures and texts, and an output folder."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from train.corrector.settings import UNCUT, Views
from train.gpus import GpuSettings
from train.settings import ESTIMATED


class LatentsSettings(Views):
    out: Path = Field(default=Path("runs/latents"), description="output folder")
    shuffled: bool = Field(
        default=False,
        description="also encode each prompt with the reflection of another sample, which "
        "validation compares",
    )
    alone: bool = Field(
        default=False,
        description="also encode each reflection without its prompt, which drop.prompt uses",
    )
    gpu: GpuSettings = GpuSettings()
    effects: ClassVar = {"gpu": ESTIMATED, "condition_fit": UNCUT}
