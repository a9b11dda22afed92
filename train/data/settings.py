"""Settings of the data engine. A source whose number is 0 is not used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from reflectionflow_core.writers.vlm import MAX_WORDS
from train.gpus import GpuKind
from train.settings import ESTIMATED, Seed, SettingNeeds, Strict, ask_vlm, verifiers_in

Share = Annotated[float, Field(ge=0, le=1)]
SHAPES, DRAFTS = WORLD = ("shapes", "drafts")  # sets that are generated, not read
MINIATURE, SYNTHETIC = "miniature", "synthetic"  # work without model folders
DETECTOR = "detector:"
NO_SOURCE = (
    "No source is used. Give rule.prompts=..., reward.prompts=..., length.prompts=..., "
    "editing.pairs=..., histories.runs=... or staged.prompts=..."
)


class PainterSettings(Strict):
    model: str = Field(
        default=MINIATURE, description="miniature, synthetic, or a FLUX folder or hub ID"
    )
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="width and height in pixels"
    )
    steps: PositiveInt | None = Field(default=None, description="sampling steps")
    guidance: float | None = Field(default=None, description="guidance scale")
    dtype: str | None = Field(default=None, description="bf16 or fp32")
    device: str | None = Field(default=None, description="cuda, mps or cpu")
    plan: str | None = Field(default=None, description="resident, phased or streamed weights")
    batch: PositiveInt = Field(default=8, description="pictures per batch")


class Judges(Strict):
    """Options of the core's verifiers."""

    vlm: str | None = Field(default=None, description="endpoint:PROFILE or a folder")
    reward_base: str | None = Field(default=None, description="base model of reward:FOLDER")
    reward_template: str | None = Field(default=None, description="file with its prompt template")
    error: Share | None = Field(default=None, description="error rate")
    device: str | None = None


class Families(Strict):
    """Relative frequencies of GenEval's prompt families.

    `color_position` (positions of two coloured objects) is ours: without it, the 80 object classes
    of COCO give fewer than 300,000 prompts.
    """

    single_object: NonNegativeFloat = 1
    two_object: NonNegativeFloat = 2
    counting: NonNegativeFloat = 2
    colors: NonNegativeFloat = 2
    position: NonNegativeFloat = 3
    color_attr: NonNegativeFloat = 3
    color_position: NonNegativeFloat = 3


class Rule(Strict):
    prompts: NonNegativeInt = Field(default=0, description="prompts composed by rule")
    candidates: int = Field(default=10, ge=2, description="pictures per prompt")
    objects: list[str] = Field(default=[], description="nouns; the miniature's shapes if empty")
    colours: list[str] = Field(default=[], description="colours that the judge can recognise")
    relations: list[Literal["left of", "right of", "above", "below"]] = Field(
        default=["left of", "right of", "above", "below"], min_length=1
    )
    counts: list[Annotated[int, Field(ge=2, le=10)]] = Field(default=[2, 3, 4], min_length=1)
    families: Families = Families()
    judge: str = Field(
        default="exact", description="exact, synthetic, or detector:FOLDER for real pictures"
    )
    colour_judge: str = Field(
        default="", description="folder of the CLIP model that recognises colours"
    )
    confidence: Share | None = Field(
        default=None, description="lowest confidence of a detection; null: the detector's default"
    )
    counting_confidence: Share | None = Field(default=None, description="the same when counting")
    max_overlap: Share | None = Field(default=None, description="IoU above which boxes are one")
    easiest: Share = Field(default=0.9, description="drop prompts with a larger share correct")
    hardest: Share = Field(default=0.1, description="drop prompts with a smaller share correct")
    pairs: PositiveInt = Field(default=1, description="most pairs per prompt")


class Ranked(Strict):
    prompts: NonNegativeInt = Field(default=0, description="prompts, from the start of the file")
    file: str = Field(default="shapes", description="text, JSON Lines, or shapes: generated")
    candidates: int = Field(default=10, ge=2, description="pictures per prompt")
    scorers: list[str] = Field(
        default=["exact"], description="verifiers, such as clip-score:FOLDER; ranks are averaged"
    )
    top: PositiveInt = Field(default=3, description="good pictures are among this many best ones")
    margin: Share = Field(default=0.3, description="smallest difference in mean rank, 0 to 1")
    pairs: PositiveInt = Field(default=1, description="most pairs per prompt")


class Length(Ranked):
    candidates: int = Field(default=4, ge=1, description="pictures for each of the two prompts")


class Editing(Strict):
    pairs: NonNegativeInt = Field(default=0, description="pairs per set")
    sets: list[str] = Field(
        default=[],
        description="generated: shapes or drafts (painted by the painter), with :FAMILY to use "
        "one prompt family; read: jsonl:FILE, parquet:FILES or shards:FOLDER",
    )
    siblings: PositiveInt = Field(
        default=1,
        description="samples per flawed picture in shapes and drafts, each with its own prompt, "
        "reflection and target; in other sets, rows with the same picture are siblings",
    )
    source: str = Field(default="source", description="field name of the flawed picture")
    edited: str = Field(default="edited", description="field name of the edited picture")
    instruction: str = Field(default="instruction", description="field name of the instruction")
    caption: str = Field(
        default="caption",
        description='field name of the caption; "": judges.vlm describes the picture',
    )


class Histories(Strict):
    runs: str = Field(default="", description="pattern of folders written by `reflectionflow run`")
    consent: bool = Field(
        default=False,
        description="true: the people whose prompts, texts and pictures are in these runs agree "
        "to their use for training",
    )
    subset: Literal["general", "length", "rule", "editing"] = "rule"
    margin: NonNegativeFloat = Field(
        default=0.0, description="smallest gain in score; not needed for a person's choice"
    )


class Staged(Strict):
    prompts: NonNegativeInt = Field(
        default=0,
        description="prompts that are planned, painted in stages and inspected, which gives "
        "questions with answers for train.writer; needs a separate run",
    )
    file: str = Field(default="shapes", description="text, JSON Lines, or shapes: generated")
    teacher: str = Field(
        default="rules",
        description="source of the answers: rules (shapes world), endpoint:PROFILE or a folder",
    )
    max_words: PositiveInt = Field(
        default=MAX_WORDS, description="most words of a reflection, as --max-words in a search"
    )


class Reflections(Strict):
    how: Literal["template", "vlm"] = Field(
        default="template", description="template: from the judge's findings; vlm: by a model"
    )
    vlm: str | None = Field(default=None, description="endpoint:PROFILE or a folder")
    max_words: PositiveInt = Field(default=60, description="most words of a reflection")


class Filter(Strict):
    scorers: list[str] = Field(
        default=["exact"], description="verifiers, each of which must prefer the good picture"
    )
    margin: NonNegativeFloat = Field(default=0.0, description="smallest difference in score")
    near_bits: NonNegativeInt | None = Field(
        default=8,
        description="pairs whose picture hashes differ by at most so many of 256 "
        "bits are duplicates; null: only identical ones",
    )


class Pool(Strict):
    workers: PositiveInt = Field(default=1, description="processes of this stage")
    cpus: NonNegativeFloat = Field(default=0.2, description="CPUs per process")
    gpus: NonNegativeFloat = Field(default=0.0, description="GPUs per process")


class Engine(Strict):
    address: str | None = Field(
        default=None, description="address of a Ray cluster; null: this machine"
    )
    cpus: PositiveInt | None = Field(default=None, description="CPUs of this machine; null: all")
    object_store_gb: PositiveFloat = Field(
        default=1.0, description="memory for the pictures between stages on this machine"
    )
    shard_items: PositiveInt = Field(default=256, description="work items per shard")
    slice_items: PositiveInt = Field(default=8, description="work items per task")
    condense: Pool = Pool()
    paint: Pool = Pool()
    judge: Pool = Pool()
    open: Pool = Pool()
    annotate: Pool = Pool()
    filter: Pool = Pool()
    store: Pool = Pool()


class Assumptions(Strict):
    """Figures used only by --estimate."""

    source: str = Field(default="not measured", description="origin of the figures")
    pictures_per_gpu_second: PositiveFloat | None = Field(
        default=None, description="null: computed for FLUX.1 on the GPU of `gpu`"
    )
    judged_per_gpu_second: PositiveFloat = 5.0
    seconds_per_call: PositiveFloat = 2.0
    megabytes_per_picture: PositiveFloat = 0.5
    rule_yield: Share = Field(default=0.5, description="share of prompts of medium difficulty")
    kept: Share = Field(default=0.85, description="share of pairs that pass annotation and filter")


def is_made(spec: str) -> bool:
    """Whether a set of edits is generated and needs no file."""
    return spec.partition(":")[0] in WORLD


DETECTED = SettingNeeds(
    "rule.judge=detector:FOLDER", lambda settings: settings.rule.judge.startswith(DETECTOR)
)
TRIPLETS = SettingNeeds("staged.prompts=0", lambda settings: not settings.staged.prompts)
PAINTED = SettingNeeds("a source that paints", lambda settings: settings.paints)
SAMPLED = SettingNeeds(
    "a source that paints and a painter.model other than synthetic",
    lambda settings: settings.paints and settings.painter.model != SYNTHETIC,
)
REWARDED = SettingNeeds(
    "the verifier reward:FOLDER", lambda settings: "reward" in verifiers_in(settings.verifiers)
)
COUNTED = SettingNeeds(
    "assumptions.pictures_per_gpu_second=null",
    lambda settings: settings.assumptions.pictures_per_gpu_second is None,
)
LOADING = {"clip-score", "objects", "reward"}  # verifiers with a model of their own
HERE = SettingNeeds("engine.address=null", lambda settings: settings.engine.address is None)
FROM_FILES = SettingNeeds(
    "a set of files in editing.sets", lambda s: not all(map(is_made, s.editing.sets))
)
EFFECTS = {
    "gpu": ESTIMATED,
    "gpu.name": COUNTED,
    "gpu.tflops": COUNTED,
    "assumptions": ESTIMATED,
    # Where nothing is painted, the model still says whether the miniature's held-out prompts stay
    # out.
    "painter.batch": PAINTED,
    **dict.fromkeys(
        [
            f"painter.{name}"
            for name in PainterSettings.model_fields
            if name not in ("model", "batch")
        ],
        SAMPLED,
    ),
    **{f"judges.{name}": REWARDED for name in ("reward_base", "reward_template")},
    "judges.error": SettingNeeds(
        "the verifier noisy", lambda settings: "noisy" in verifiers_in(settings.verifiers)
    ),
    "judges.vlm": SettingNeeds(
        "a verifier that asks it, or missing texts in length.file or editing.caption",
        lambda settings: ask_vlm(settings.verifiers) or settings.lacks_texts,
    ),
    "judges.device": SettingNeeds(
        "a judge that loads a model",
        lambda settings: (
            (settings.rule.prompts and settings.rule.judge.startswith(DETECTOR))
            or settings.judges.vlm
            or not LOADING.isdisjoint(verifiers_in(settings.verifiers))
        ),
    ),
    "rule": SettingNeeds("rule.prompts=1 or more", lambda settings: settings.rule.prompts),
    **dict.fromkeys(
        (
            "rule.colour_judge",
            "rule.confidence",
            "rule.counting_confidence",
            "rule.max_overlap",
        ),
        DETECTED,
    ),
    "rule.counts": SettingNeeds(
        "rule.families.counting above 0", lambda settings: settings.rule.families.counting
    ),
    "rule.relations": SettingNeeds(
        "rule.families.position or rule.families.color_position above 0",
        lambda s: s.rule.families.position or s.rule.families.color_position,
    ),
    "reward": SettingNeeds("reward.prompts=1 or more", lambda settings: settings.reward.prompts),
    "length": SettingNeeds("length.prompts=1 or more", lambda settings: settings.length.prompts),
    "editing": SettingNeeds("editing.pairs=1 or more", lambda settings: settings.editing.pairs),
    **dict.fromkeys(
        ("editing.source", "editing.edited", "editing.instruction", "editing.caption"), FROM_FILES
    ),
    "editing.siblings": SettingNeeds(
        "shapes or drafts in editing.sets",
        lambda settings: any(map(is_made, settings.editing.sets)),
    ),
    "histories": SettingNeeds("histories.runs", lambda settings: settings.histories.runs),
    "staged": SettingNeeds("staged.prompts=1 or more", lambda settings: settings.staged.prompts),
    "reflections": SettingNeeds(
        "a source whose pairs lack reflections", lambda settings: settings.lacks_reflections
    ),
    "reflections.vlm": SettingNeeds(
        "reflections.how=vlm", lambda settings: settings.reflections.how == "vlm"
    ),
    "filter": TRIPLETS,
    "filter.margin": SettingNeeds(
        "a verifier in filter.scorers", lambda settings: settings.filter.scorers
    ),
    "engine.condense": SettingNeeds(
        "length.prompts=1 or more", lambda settings: settings.length.prompts
    ),
    "engine.paint": SettingNeeds(
        "a source that paints, other than drafts", lambda settings: settings.paints_prompts
    ),
    "engine.judge": SettingNeeds(
        "rule.prompts, reward.prompts or length.prompts=1 or more",
        lambda s: s.rule.prompts or s.reward.prompts or s.length.prompts,
    ),
    "engine.open": SettingNeeds(
        "editing.pairs=1 or more, or histories.runs", lambda s: s.editing.pairs or s.histories.runs
    ),
    "engine.filter": TRIPLETS,
    "engine.cpus": HERE,
    "engine.object_store_gb": HERE,
}


class DataSettings(Strict):
    out: Path = Field(default=Path("runs/data"), description="folder of the run")
    seed: Seed = 0
    image_format: Literal["jpg", "png", "webp"] = "jpg"
    benchmarks: list[str] = Field(
        default=[], description="files with prompts to exclude: GenEval's JSON Lines, or text"
    )
    images: bool = Field(default=False, description="also write all pictures into images/")
    licences: dict[str, str] = Field(
        default={}, description="licence of each model and data set used, for the data card"
    )
    painter: PainterSettings = PainterSettings()
    judges: Judges = Judges()
    rule: Rule = Rule()
    reward: Ranked = Ranked()
    length: Length = Length()
    editing: Editing = Editing()
    histories: Histories = Histories()
    staged: Staged = Staged()
    reflections: Reflections = Reflections()
    filter: Filter = Filter()
    engine: Engine = Engine()
    assumptions: Assumptions = Assumptions()
    gpu: GpuKind = GpuKind()
    effects: ClassVar = EFFECTS

    @property
    def paints_prompts(self) -> bool:
        asked = (self.rule, self.reward, self.length, self.staged)
        return any(source.prompts for source in asked)

    @property
    def paints_drafts(self) -> bool:
        drafts = any(spec.partition(":")[0] == DRAFTS for spec in self.editing.sets)
        return bool(self.editing.pairs and drafts)

    @property
    def paints(self) -> bool:
        return self.paints_prompts or self.paints_drafts

    @property
    def reads_edits(self) -> bool:
        """Whether edits are read from files, in which texts may be missing."""
        return bool(self.editing.pairs) and not all(map(is_made, self.editing.sets))

    @property
    def lacks_texts(self) -> bool:
        """Whether a vision-language model may have to write prompts."""
        condenses = self.length.prompts and self.length.file != SHAPES
        return bool(condenses or (self.reads_edits and not self.editing.caption))

    @property
    def lacks_reflections(self) -> bool:
        asked = (self.rule.prompts, self.reward.prompts, self.length.prompts, self.histories.runs)
        return any(asked) or self.reads_edits

    @property
    def scorers(self) -> dict[str, list[str]]:
        """The scorers of each group that is used."""
        return {
            "reward": self.reward.scorers if self.reward.prompts else [],
            "length": self.length.scorers if self.length.prompts else [],
            "filter": [] if self.staged.prompts else self.filter.scorers,
        }

    @property
    def verifiers(self) -> list[str]:
        """The scorers that are verifiers of the registry."""
        return [spec for specs in self.scorers.values() for spec in specs if spec != SYNTHETIC]
