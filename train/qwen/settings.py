"""Settings that all trainings on Qwen2.5-VL share."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from train.gpus import GpuSettings
from train.reports import IN_WANDB, ReportSettings
from train.settings import ESTIMATED, Seed, SettingNeeds, Strict, torch_device

TINY = "tiny"  # a base made by the program itself
MINIATURE = "miniature"  # data made by the program itself

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
        f"held_out=null, and data other than {MINIATURE}",
        lambda settings: not settings.held_out and settings.data != MINIATURE,
    ),
}


class QwenSettings(Strict):
    """A run: what it starts from, what it learns from, and for how long."""

    out: Path = Field(description="folder of the run; a run that was stopped is resumed there")
    base: str = Field(description='folder or hub id of a Qwen2.5-VL; "tiny" makes a random one')
    data: str = Field(
        description="folder, pattern, list or address of shards, or a .jsonl; "
        '"miniature" makes some'
    )
    held_out: str | None = Field(
        default=None, description="the same for measuring; without it, prompts are split off `data`"
    )
    held_out_share: float = Field(default=0.02, gt=0, lt=1, description="of the prompts")
    held_out_most: PositiveInt = Field(default=1000, description="samples that are measured on")
    made: PositiveInt = Field(default=512, description='samples that "miniature" makes')
    families: list[str] = Field(
        default=["single_object", "colors"], description='kinds of prompts that "miniature" makes'
    )
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    steps: PositiveInt = Field(description="of the optimiser")
    batch: PositiveInt = Field(description="samples at once on one device")
    accumulate: PositiveInt = Field(default=1, description="batches to a step")
    rate: PositiveFloat = Field(description="the highest learning rate; it rises, then falls to 0")
    warmup: int = Field(default=100, ge=0, description="steps until the rate is reached")
    weight_decay: float = Field(default=0.0, ge=0)
    clip: PositiveFloat = Field(default=1.0, description="the longest gradient")
    optimiser: Literal["adamw_torch", "adafactor"] = "adamw_torch"
    weights: Literal["bf16", "fp32"] = Field(
        default="bf16", description="bf16: frozen weights and arithmetic; what is trained is fp32"
    )
    checkpointing: bool = Field(default=True, description="recompute activations to save memory")
    max_pixels: PositiveInt = Field(description="pictures are made smaller than this")
    workers: int = Field(default=4, ge=0, description="processes that read pictures")

    log_every: PositiveInt = Field(default=10, description="steps between two lines of the log")
    save_every: PositiveInt = Field(default=500, description="steps between two checkpoints")
    eval_every: PositiveInt = Field(default=500, description="steps between two measurements")
    keep: PositiveInt = Field(default=2, description="checkpoints that are kept")
    gpu: GpuSettings = GpuSettings()
    report: ReportSettings = ReportSettings()
    effects: ClassVar = EFFECTS

    @property
    def torch_device(self) -> str:
        return torch_device(self.device)
