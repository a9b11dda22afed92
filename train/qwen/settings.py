"""Settings shared by all trainings of Qwen2.5-VL."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from train.gpus import GpuSettings
from train.reports import IN_WANDB, ReportSettings
from train.settings import ESTIMATED, Seed, SettingNeeds, Strict, torch_device

TINY = "tiny"  # a random base model, made by the program
MINIATURE = "miniature"  # data made by the program

# What may change when a run is resumed.
MAY_CHANGE = frozenset(
    (
        "out",
        "accumulate",
        "device",
        "gain",
        "gpu",
        "report",
        "workers",
        "log_every",
        "save_every",
        "eval_every",
        "keep",
        "rate",
        "clip",
        "steps",
        "weights",
    )
)


MADE = SettingNeeds(f"data={MINIATURE}", lambda settings: settings.data == MINIATURE)
EFFECTS = {
    "gpu": ESTIMATED,
    "report.project": IN_WANDB,
    "report.name": IN_WANDB,
    "made": MADE,
    "families": MADE,
    "held_out": SettingNeeds(
        f"data other than {MINIATURE}", lambda settings: settings.data != MINIATURE
    ),
    "held_out_share": SettingNeeds(
        f"held_out=null and data other than {MINIATURE}",
        lambda settings: not settings.held_out and settings.data != MINIATURE,
    ),
}


class QwenSettings(Strict):
    """Base model, data and schedule of a training."""

    out: Path = Field(description="folder of the run; a stopped run is resumed")
    base: str = Field(description='folder or hub ID of a Qwen2.5-VL; "tiny": a small random model')
    data: str = Field(
        description='shards (folder, pattern, list or URL) or a .jsonl; "miniature": generated data'
    )
    held_out: str | None = Field(
        default=None, description="held-out data, given like `data`; null: a share of `data`"
    )
    held_out_share: float = Field(default=0.02, gt=0, lt=1, description="share of the prompts")
    held_out_most: PositiveInt = Field(default=1000, description="most held-out samples")
    made: PositiveInt = Field(default=512, description="number of samples for data=miniature")
    families: list[str] = Field(
        default=["single_object", "colors"],
        description="prompt families for data=miniature",
        min_length=1,
    )
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    steps: PositiveInt = Field(description="optimiser steps")
    batch: PositiveInt = Field(description="samples per batch of one process")
    accumulate: PositiveInt = Field(default=1, description="batches per step")
    rate: PositiveFloat = Field(
        description="highest learning rate; it rises linearly, then falls to 0"
    )
    warmup: int = Field(default=100, ge=0, description="steps until the highest rate is reached")
    weight_decay: float = Field(default=0.0, ge=0)
    clip: PositiveFloat = Field(default=1.0, description="largest norm of the gradient")
    optimiser: Literal["adamw_torch", "adafactor"] = "adamw_torch"
    weights: Literal["bf16", "fp32"] = Field(
        default="bf16",
        description="bf16: frozen weights and computation in bf16; trained weights are always fp32",
    )
    checkpointing: bool = Field(default=True, description="recompute activations to save memory")
    max_pixels: PositiveInt = Field(
        description="larger pictures are scaled down to this many pixels"
    )
    workers: int = Field(default=4, ge=0, description="processes that read pictures")

    log_every: PositiveInt = Field(default=10, description="steps between two log lines")
    save_every: PositiveInt = Field(default=500, description="steps between two checkpoints")
    eval_every: PositiveInt = Field(default=500, description="steps between two measurements")
    keep: PositiveInt = Field(default=2, description="number of checkpoints kept")
    gpu: GpuSettings = GpuSettings()
    report: ReportSettings = ReportSettings()
    effects: ClassVar = EFFECTS

    @property
    def torch_device(self) -> str:
        return torch_device(self.device)
