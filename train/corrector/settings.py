"""Settings of the corrector's training.

The defaults are the paper's, for 8 GPUs; the LoRA rank is that of the published weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from reflectionflow_core.flux.settings import ConditionSettings
from train.gpus import LINKED_BY, SHARED, GpuSettings, ShardingGpuSettings
from train.reports import IN_WANDB, ReportSettings
from train.settings import (
    ESTIMATED,
    Seed,
    SettingNeeds,
    Strict,
    ask_vlm,
    torch_device,
    verifiers_in,
)
from train.triplets import SUBSETS

if TYPE_CHECKING:
    from reflectionflow_core.flux.lora import Mode
    from train.fit import Schedule

AUTO = "auto"
PRODIGY_RATE = 1.0
Share = tuple[float, float]  # at the first step and from step `over` on


class Views(Strict):
    """Sizes of pictures and texts, shared by the training and train.latents."""

    model: str = Field(
        default="black-forest-labs/FLUX.1-dev",
        description="diffusers folder, hub ID or miniature",
    )
    data: str = Field(
        default="",
        description="shards: a folder, a pattern or list such as data/genref_{0..208}.tar, a "
        "URL, or pipe:COMMAND",
    )
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["bf16", "fp32"] = Field(
        default="bf16", description="dtype of FLUX; the LoRA is always fp32"
    )
    target_size: PositiveInt = Field(
        default=1024,
        description="pixels; pictures are scaled to the area of a square with this side",
        multiple_of=16,
    )
    condition_size: PositiveInt = Field(
        default=512, description="longer side of the flawed picture in pixels", multiple_of=16
    )
    condition_fit: Literal["squash", "fit"] = Field(
        default="squash",
        description="squash makes the flawed picture square; fit keeps its aspect ratio",
    )
    max_aspect: float = Field(
        default=1.0,
        ge=1,
        le=4,
        description="largest aspect ratio of the crops; 1: squares only, 2: up to 2:1",
    )
    text_length: PositiveInt = Field(
        default=512, le=512, description="length of T5's text in tokens"
    )

    @property
    def condition(self) -> ConditionSettings:
        return ConditionSettings(self.condition_size, self.condition_fit)

    @property
    def torch_device(self) -> str:
        return torch_device(self.device)


class Lora(Strict):
    rank: PositiveInt = 32
    alpha: PositiveFloat | None = Field(
        default=None, description="the LoRA is scaled by alpha / rank; null: same as rank"
    )
    tokens: Literal["condition", "all"] = Field(
        default="condition", description="tokens that the LoRA is applied to"
    )
    attention: Literal["union", "independent"] = Field(
        default="union",
        description="independent: the flawed picture's tokens attend only to themselves",
    )
    start: Path | None = Field(default=None, description="corrector LoRA to start from")

    @property
    def mode(self) -> Mode:
        from reflectionflow_core.flux.lora import Mode

        return Mode(self.tokens, self.attention)


class Optimiser(Strict):
    name: Literal["prodigy", "adamw"] = "prodigy"
    rate: PositiveFloat | None = Field(
        default=None, description="learning rate; for Prodigy a factor, by default 1"
    )
    weight_decay: float = Field(default=0.01, ge=0)
    clip: PositiveFloat = Field(default=0.5, description="largest norm of the gradient")
    warmup: NonNegativeInt = Field(
        default=0, description="steps over which the learning rate rises linearly"
    )
    decay: float = Field(
        default=0.0,
        description="final share of the steps, over which the learning rate falls",
        ge=0,
        le=1,
    )
    ema: float | None = Field(
        default=None, description="decay of the moving average of the weights per step", gt=0, lt=1
    )

    @model_validator(mode="after")
    def _a_rate_that_suits(self) -> Optimiser:
        if self.rate is None and self.name == "adamw":
            raise ValueError("adamw has no usual rate; give optimiser.rate, such as 1e-4")
        return self


class Drops(Strict):
    """Probabilities of dropping parts of a sample (paper §3.3)."""

    text: float = Field(default=0.1, ge=0, le=1, description="no text is read")
    reflection: float = Field(default=0.1, ge=0, le=1, description="only the prompt is read")
    prompt: float = Field(default=0.0, ge=0, le=1, description="only the reflection is read")
    image: float = Field(
        default=0.1, ge=0, le=1, description="the flawed picture is black; not for editing samples"
    )
    together: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="reflection and flawed picture are dropped at once and the prompt stays, "
        "which trains plain text-to-image; not for editing samples",
    )


class Mixture(Strict):
    """Shares of the subsets, moving linearly from the first value to the second."""

    over: PositiveInt = Field(default=5000, description="steps until the final shares are reached")
    editing: Share = Field(default=(0.7, 0.0), description="first and final share")
    general: Share = (0.1, 0.3)
    length: Share = (0.1, 0.3)
    rule: Share = (0.1, 0.4)

    @model_validator(mode="after")
    def _no_share_is_negative(self) -> Mixture:
        if any(share < 0 for subset in SUBSETS for share in self.of(subset)):
            raise ValueError("shares must be 0 or more")
        return self

    def of(self, subset: str) -> Share:
        return getattr(self, subset)


class MendedSettings(Strict):
    """Measures at each validation how many held-out pictures one correction fixes."""

    pictures: NonNegativeInt = Field(
        default=0,
        description="validation samples that are corrected, three times each; 0: not measured",
    )
    verifier: str = Field(default="exact", description="verifier that judges them")
    vlm: str | None = Field(
        default=None,
        description="vision-language model of the verifier: folder or endpoint:PROFILE",
    )
    reward_base: str | None = Field(
        default=None, description="base model of verifier=reward:FOLDER"
    )


class Checking(Strict):
    """When and on how many samples a training is validated."""

    samples: NonNegativeInt = Field(
        default=16, description="held-out samples, each of another prompt"
    )
    every: PositiveInt = Field(default=500, description="steps between two validations")
    pictures: NonNegativeInt = Field(
        default=4, description="samples that are corrected for the contact sheet"
    )
    steps: PositiveInt = Field(default=28, description="sampling steps of a correction")
    mended: MendedSettings = MendedSettings()


class Validation(Checking):
    guidance: float = Field(default=3.5, ge=0)


CORRECTING = SettingNeeds(
    "validation.pictures or validation.mended.pictures=1 or more",
    lambda s: s.checking.pictures or s.checking.mended.pictures,
)
ANEW = SettingNeeds("lora.start=null", lambda s: s.lora.start is None)
MENDED = "validation.mended.pictures=1 or more"
UNCUT = SettingNeeds("max_aspect above 1", lambda s: s.max_aspect > 1)
EFFECTS = {
    "gpu": ESTIMATED,
    "condition_fit": UNCUT,
    "report.project": IN_WANDB,
    "report.name": IN_WANDB,
    "siblings": SettingNeeds("a batch of that many samples", lambda s: s.siblings <= s.batch),
    "time_shifted": SettingNeeds("a time_shift other than 1", lambda s: s.time_shift != 1),
    "validation": SettingNeeds("validation.samples=1 or more", lambda s: s.checking.samples),
    "validation.steps": CORRECTING,
    "validation.pictures": SettingNeeds(
        "validation.samples of at least that number",
        lambda s: s.checking.pictures <= s.checking.samples,
    ),
    "validation.mended.pictures": SettingNeeds(
        "validation.samples of at least that number",
        lambda s: s.checking.mended.pictures <= s.checking.samples,
    ),
    "validation.mended": SettingNeeds(MENDED, lambda s: s.checking.mended.pictures),
    "validation.mended.vlm": SettingNeeds(
        "a validation.mended.verifier that asks a model, such as checklist",
        lambda s: ask_vlm([s.checking.mended.verifier]),
    ),
    "validation.mended.reward_base": SettingNeeds(
        "validation.mended.verifier=reward:FOLDER",
        lambda s: "reward" in verifiers_in([s.checking.mended.verifier]),
    ),
}


class LearningSettings(Views):
    """Settings shared by the trainings of the corrector and of an editing model."""

    out: Path = Field(default=Path("runs/corrector"), description="folder of the run")
    steps: PositiveInt = Field(default=6000, description="optimiser steps")
    batch: PositiveInt = Field(default=8, description="samples per batch of one process")
    accumulate: PositiveInt = Field(default=1, description="batches per step of one process")
    save_every: PositiveInt = Field(default=500, description="steps between two checkpoints")
    checkpointing: bool = Field(
        default=True, description="recompute activations to save memory (gradient checkpointing)"
    )
    siblings: PositiveInt = Field(
        default=1,
        description="samples per batch that share a flawed picture, noise and time, so that "
        "only their texts tell their targets apart; needs such data",
    )
    workers: PositiveInt = Field(default=4, description="threads that read batches ahead")
    changed_weight: float = Field(
        default=0.0, ge=0, description="extra loss weight of the tokens that change most"
    )
    time_shift: PositiveFloat = Field(default=1.0, description="s in t = s u / (1 + (s - 1) u)")
    time_shifted: float = Field(
        default=1.0, ge=0, le=1, description="share of samples that use time_shift"
    )
    optimiser: Optimiser = Optimiser()
    drop: Drops = Drops()
    mixture: Mixture = Mixture()
    leave_out: list[str] = Field(
        default=[], description="keys of samples to exclude, for example those of a failed step"
    )
    gpu: GpuSettings = GpuSettings()
    report: ReportSettings = ReportSettings()
    effects: ClassVar = EFFECTS

    @property
    def checking(self) -> Checking:
        raise NotImplementedError

    @property
    def schedule(self) -> Schedule:
        from train.fit import Schedule

        o = self.optimiser
        return Schedule(
            self.steps,
            o.rate or PRODIGY_RATE,
            warmup=o.warmup,
            decay=o.decay,
            ema=o.ema,
            clip=o.clip,
            save_every=self.save_every,
            optimiser=o.name,
            weight_decay=o.weight_decay,
            accumulate=self.accumulate,
        )


class CorrectorSettings(LearningSettings):
    latents: Path | Literal["auto"] | None = Field(
        default=AUTO,
        description="folder written by train.latents, so that VAE and T5 are not needed; auto: "
        "written first if samples are used twice or more and fit into half of the free disk "
        "space; null: never",
    )
    lora: Lora = Lora()
    # Settings are frozen, so a narrower type is safe.
    gpu: ShardingGpuSettings = ShardingGpuSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    validation: Validation = Validation()
    effects: ClassVar = {
        **EFFECTS,
        "data": SettingNeeds(
            "latents=auto or latents=null", lambda s: not (s.data and isinstance(s.latents, Path))
        ),
        "lora.rank": ANEW,
        "lora.alpha": ANEW,
        "validation.guidance": CORRECTING,
        "gpu.sharded": SHARED,
        "gpu.link_gb": LINKED_BY,
    }

    @property
    def checking(self) -> Checking:
        return self.validation

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> CorrectorSettings:
        if not self.data and self.latents in (None, AUTO):
            raise ValueError("give data (shards) or latents (a folder written by train.latents)")
        return self


# What may change when a run is resumed. Where data are added, held-out prompts stay held out or
# make room for new ones.
MAY_CHANGE = (
    "accumulate",
    "checkpointing",
    "data",
    "device",
    "gpu",
    "latents",
    "leave_out",
    "model",
    "optimiser.clip",
    "optimiser.rate",
    "out",
    "report",
    "save_every",
    "steps",
    "validation.every",
    "validation.guidance",
    "validation.mended",
    "validation.pictures",
    "validation.steps",
    "workers",
)
