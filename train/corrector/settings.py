"""Settings of the corrector's training.

The defaults are the paper's, for 8 GPUs (the rank that of the published weights).
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
Share = tuple[float, float]  # at the start and from `over` samples on


class Views(Strict):
    """In which sizes pictures and texts are seen; of a training and of its latents alike."""

    model: str = Field(
        default="black-forest-labs/FLUX.1-dev",
        description="a diffusers folder, a hub id, or miniature",
    )
    data: str = Field(
        default="",
        description="a folder of shards, a pattern or list such as data/genref_{0..208}.tar, an "
        "address, or pipe: and a command",
    )
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["bf16", "fp32"] = Field(
        default="bf16", description="of FLUX; the LoRA stays in fp32"
    )
    target_size: PositiveInt = Field(
        default=1024,
        description="pixels; pictures have the area of a square of this side",
        multiple_of=16,
    )
    condition_size: PositiveInt = Field(
        default=512, description="longer side of the flawed picture", multiple_of=16
    )
    condition_fit: Literal["squash", "fit"] = Field(
        default="squash", description="squash makes every condition square, fit keeps its aspect"
    )
    max_aspect: float = Field(
        default=1.0, ge=1, le=4, description="1 crops squares; 2 has sizes up to 2:1"
    )
    text_length: PositiveInt = Field(default=512, le=512, description="tokens that T5 reads")

    @property
    def condition(self) -> ConditionSettings:
        return ConditionSettings(self.condition_size, self.condition_fit)

    @property
    def torch_device(self) -> str:
        return torch_device(self.device)


class Lora(Strict):
    rank: PositiveInt = 32
    alpha: PositiveFloat | None = Field(
        default=None, description="the LoRA is scaled by alpha / rank; None: as rank"
    )
    tokens: Literal["condition", "all"] = Field(
        default="condition", description="which tokens see the LoRA"
    )
    attention: Literal["union", "independent"] = Field(
        default="union", description="independent: the condition attends to itself only"
    )
    start: Path | None = Field(default=None, description="a corrector LoRA to start from")

    @property
    def mode(self) -> Mode:
        from reflectionflow_core.flux.lora import Mode

        return Mode(self.tokens, self.attention)


class Optimiser(Strict):
    name: Literal["prodigy", "adamw"] = "prodigy"
    rate: PositiveFloat = 1.0
    weight_decay: float = Field(default=0.01, ge=0)
    clip: PositiveFloat = 0.5
    warmup: NonNegativeInt = Field(default=0, description="steps of a linear rise")
    decay: float = Field(
        default=0.0, description="last share of the steps, over which it falls", ge=0, le=1
    )
    ema: float | None = Field(
        default=None, description="kept of the moving average at a step", gt=0, lt=1
    )


class Drops(Strict):
    """Chances of a sample (paper §3.3)."""

    text: float = Field(default=0.1, ge=0, le=1, description="T5 reads nothing")
    reflection: float = Field(default=0.1, ge=0, le=1, description="T5 reads the prompt alone")
    prompt: float = Field(
        default=0.0, ge=0, le=1, description="T5 reads the reflection alone and CLIP nothing"
    )
    image: float = Field(
        default=0.1, ge=0, le=1, description="the condition is black; never in editing"
    )
    together: float = Field(
        default=0.2, ge=0, le=1, description="both, which leaves text to image; never in editing"
    )


class Mixture(Strict):
    """Shares of the subsets: editing first, then the others."""

    over: PositiveInt = Field(default=5000, description="steps until the last shares are reached")
    editing: Share = (0.7, 0.0)
    general: Share = (0.1, 0.3)
    length: Share = (0.1, 0.3)
    rule: Share = (0.1, 0.4)

    @model_validator(mode="after")
    def _no_share_is_negative(self) -> Mixture:
        if any(share < 0 for subset in SUBSETS for share in self.of(subset)):
            raise ValueError("shares are 0 or more")
        return self

    def of(self, subset: str) -> Share:
        return getattr(self, subset)


class MendedSettings(Strict):
    """Who judges at each validation whether a correction fixes a held-out picture."""

    pictures: NonNegativeInt = Field(
        default=0, description="of the validation's samples, each corrected three times; 0: none"
    )
    verifier: str = Field(default="exact", description="who judges, by its name in the registry")
    vlm: str | None = Field(default=None, description="folder or endpoint:PROFILE it asks")
    reward_base: str | None = Field(
        default=None, description="for verifier=reward:FOLDER, the model it was trained from"
    )


class Checking(Strict):
    """When and on what a training is validated."""

    samples: NonNegativeInt = Field(
        default=16, description="held out of the training, one of as many prompts"
    )
    every: PositiveInt = Field(default=500, description="steps")
    pictures: NonNegativeInt = Field(
        default=4, description="of the samples, corrected on a contact sheet"
    )
    steps: PositiveInt = 28
    mended: MendedSettings = MendedSettings()


class Validation(Checking):
    guidance: float = Field(default=3.5, ge=0)


CORRECTING = SettingNeeds(
    "validation.pictures or validation.mended.pictures=1 or more",
    lambda s: s.checking.pictures or s.checking.mended.pictures,
)
ANEW = SettingNeeds("lora.start=null", lambda s: s.lora.start is None)
MENDED = "validation.mended.pictures=1 or more"
UNCUT = SettingNeeds("max_aspect, above 1", lambda s: s.max_aspect > 1)
EFFECTS = {
    "gpu": ESTIMATED,
    "condition_fit": UNCUT,
    "report.project": IN_WANDB,
    "report.name": IN_WANDB,
    "time_shifted": SettingNeeds("time_shift, other than 1", lambda s: s.time_shift != 1),
    "validation": SettingNeeds("validation.samples=1 or more", lambda s: s.checking.samples),
    "validation.steps": CORRECTING,
    "validation.pictures": SettingNeeds(
        "as many validation.samples", lambda s: s.checking.pictures <= s.checking.samples
    ),
    "validation.mended.pictures": SettingNeeds(
        "as many validation.samples", lambda s: s.checking.mended.pictures <= s.checking.samples
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
    """What a corrector's training and an editor's have in common."""

    out: Path = Path("runs/corrector")
    steps: PositiveInt = 6000
    batch: PositiveInt = Field(default=8, description="samples of one process at a time")
    accumulate: PositiveInt = Field(default=1, description="batches of one process a step")
    save_every: PositiveInt = 500
    checkpointing: bool = Field(
        default=True, description="compute activations again, to save memory"
    )
    siblings: PositiveInt = Field(
        default=1,
        description="samples of a batch that show one flawed picture at one noise and time, as far "
        "as the data has them: only their words say which target is whose",
    )
    workers: PositiveInt = Field(default=4, description="batches read ahead, each in a thread")
    changed_weight: float = Field(
        default=0.0, ge=0, description="added weight of the tokens that change most"
    )
    time_shift: PositiveFloat = Field(default=1.0, description="s of t = s u / (1 + (s - 1) u)")
    time_shifted: float = Field(
        default=1.0, ge=0, le=1, description="share of samples with that shift"
    )
    optimiser: Optimiser = Optimiser()
    drop: Drops = Drops()
    mixture: Mixture = Mixture()
    leave_out: list[str] = Field(
        default=[], description="keys of samples that are never drawn, as after a step that failed"
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
            o.rate,
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
        description="a folder that train.latents wrote, so that VAE and T5 are not needed; auto: "
        "made first in the run's folder where samples are seen twice or more and half of the free "
        "disk has room; null: never",
    )
    lora: Lora = Lora()
    # Settings are frozen, so a narrower kind is safe.
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
            raise ValueError("give data (shards) or latents (what train.latents made of them)")
        return self


# What may change when a run is resumed. What is held out stays while the data grow.
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
