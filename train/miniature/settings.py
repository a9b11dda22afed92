"""Settings of a rebuild of the miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from train.settings import Seed, Strict


class MiniatureSettings(Strict):
    """The defaults are how the weights were made."""

    out: Path = Path("runs/miniature")
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    pictures: PositiveInt = Field(
        default=30_000, description="scenes that the latents are computed from"
    )

    vae_steps: PositiveInt = 4000
    vae_rate: PositiveFloat = 2e-3
    vae_batch: PositiveInt = 16

    text_steps: PositiveInt = 1500
    text_rate: PositiveFloat = 2e-3
    text_batch: PositiveInt = 96

    base_steps: PositiveInt = 6000
    base_rate: PositiveFloat = 2e-3
    base_batch: PositiveInt = 96

    distil_steps: PositiveInt = 500
    distil_rate: PositiveFloat = 4e-4

    corrector_steps: PositiveInt = Field(default=3_000, description="with all pairs")
    mistake_steps: PositiveInt = Field(
        default=9_000, description="after them, with the base's own mistakes alone"
    )
    corrector_rate: PositiveFloat = 2e-3
    corrector_batch: PositiveInt = 64
    rank: PositiveInt = 64
    pairs: PositiveInt = Field(
        default=20_000, description="with flaws put in, and as many that the base painted wrong"
    )

    measured: PositiveInt = Field(default=6000, description="held-out prompts of the final figures")
