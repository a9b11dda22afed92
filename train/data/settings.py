"""Settings of the data engine; sources whose number is 0 are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from reflectionflow_core.writers.vlm import MAX_WORDS
from train.gpus import GpuKind
from train.settings import ESTIMATED, Seed, SettingNeeds, Strict, ask_vlm, verifiers_in

Share = Annotated[float, Field(ge=0, le=1)]
SHAPES, DRAFTS = WORLD = ("shapes", "drafts")  # sets that are made, not read
MINIATURE, SYNTHETIC = "miniature", "synthetic"  # what paints and judges without a folder
DETECTOR = "detector:"


class PainterSettings(Strict):
    model: str = Field(
        default=MINIATURE, description="miniature, synthetic, or a FLUX folder or hub id"
    )
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="width and height in pixels"
    )
    steps: PositiveInt | None = None
    guidance: float | None = None
    dtype: str | None = None
    device: str | None = None
    plan: str | None = None
    batch: PositiveInt = Field(default=8, description="pictures painted at once")


class Judges(Strict):
    """What verifiers of the core need beyond their names."""

    vlm: str | None = Field(default=None, description="endpoint:PROFILE or a folder")
    reward_base: str | None = None
    reward_template: str | None = None
    error: Share | None = Field(default=None, description="error rate of the verifier noisy")
    device: str | None = None


class Families(Strict):
    """How often each of GenEval's families is drawn, and positions of two coloured things, without
    which the 80 things of COCO make fewer than 300,000 prompts.
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
    candidates: Annotated[int, Field(ge=2)] = 10
    objects: list[str] = Field(default=[], description="nouns; the miniature's shapes if empty")
    colours: list[str] = Field(default=[], description="those that the judge can tell")
    relations: list[Literal["left of", "right of", "above", "below"]] = Field(
        default=["left of", "right of", "above", "below"]
    )
    counts: list[Annotated[int, Field(ge=2, le=10)]] = Field(default=[2, 3, 4])
    families: Families = Families()
    judge: str = Field(
        default="exact", description="exact, synthetic, or detector:FOLDER for real pictures"
    )
    colour_judge: str = Field(default="", description="folder of the CLIP that reads colours")
    confidence: Share | None = Field(default=None, description="of a find; None: the detector's")
    counting_confidence: Share | None = None
    max_overlap: Share | None = None
    easiest: Share = Field(
        default=0.9, description="drop prompts of whose pictures a larger share is right"
    )
    hardest: Share = Field(
        default=0.1, description="drop prompts of whose pictures a smaller share is right"
    )
    pairs: PositiveInt = Field(default=1, description="pairs of one prompt at most")


class Ranked(Strict):
    prompts: NonNegativeInt = Field(default=0, description="prompts used, the first of the file")
    file: str = Field(
        default="shapes", description="text or JSON lines; shapes: the miniature's own prompts"
    )
    candidates: Annotated[int, Field(ge=2)] = 10
    scorers: list[str] = Field(
        default=["exact"], description="verifiers, such as clip-score:FOLDER; ranked and averaged"
    )
    top: PositiveInt = Field(default=3, description="good pictures are among the best, this many")
    margin: Share = Field(default=0.3, description="least difference in mean rank, 0 to 1")
    pairs: PositiveInt = 1


class Length(Ranked):
    candidates: Annotated[int, Field(ge=1)] = Field(
        default=4, description="pictures of each of the two prompts"
    )


class Editing(Strict):
    pairs: NonNegativeInt = Field(default=0, description="pairs used of each set")
    sets: list[str] = Field(
        default=[],
        description="shapes or drafts (the painter's own), of all prompts of the shapes world or "
        "with :FAMILY; jsonl:FILE, parquet:FILES or shards:FOLDER",
    )
    siblings: PositiveInt = Field(
        default=1,
        description="reflections of one flawed picture in shapes and drafts, each with its own "
        "prompt and target; rows of other sets are siblings where they have the same picture",
    )
    source: str = Field(default="source", description="names of the fields in a set")
    edited: str = "edited"
    instruction: str = "instruction"
    caption: str = Field(
        default="caption",
        description='column of the caption; "" asks judges.vlm to describe the picture',
    )


class Histories(Strict):
    runs: str = Field(default="", description="folders of `reflectionflow run`, as a pattern")
    consent: bool = Field(
        default=False,
        description="true says that the people whose prompts, words and pictures these runs hold "
        "agree to their use for training",
    )
    subset: Literal["general", "length", "rule", "editing"] = "rule"
    margin: NonNegativeFloat = Field(
        default=0.0,
        description="least gain in the run's own score; what a person preferred needs none",
    )


class Staged(Strict):
    prompts: NonNegativeInt = Field(
        default=0,
        description="prompts that are planned, painted stage by stage and inspected, as questions "
        "with answers for train.writer; in a run of their own",
    )
    file: str = Field(
        default="shapes", description="text or JSON lines; shapes: the miniature's own prompts"
    )
    teacher: str = Field(
        default="rules",
        description="who answers: rules (of the shapes world), endpoint:PROFILE or a folder",
    )
    max_words: PositiveInt = Field(
        default=MAX_WORDS, description="of a reflection, as the search's --max-words"
    )


class Reflections(Strict):
    how: Literal["template", "vlm"] = "template"
    vlm: str | None = Field(default=None, description="endpoint:PROFILE or a folder")
    max_words: PositiveInt = 60


class Filter(Strict):
    scorers: list[str] = Field(default=["exact"], description="each must prefer the good picture")
    margin: NonNegativeFloat = Field(default=0.0, description="and by more than this")
    near_bits: NonNegativeInt | None = Field(
        default=8, description="of 256: pairs nearer to each other are one; None: only equal ones"
    )


class Pool(Strict):
    workers: PositiveInt = 1
    cpus: NonNegativeFloat = 0.2
    gpus: NonNegativeFloat = 0.0


class Engine(Strict):
    address: str | None = Field(default=None, description="of a Ray cluster; None: this machine")
    cpus: PositiveInt | None = Field(default=None, description="of this machine; None: all")
    object_store_gb: PositiveFloat = Field(default=1.0, description="memory between stages, here")
    shard_items: PositiveInt = Field(default=256, description="work items of one shard")
    slice_items: PositiveInt = Field(default=8, description="work items that one task works on")
    condense: Pool = Pool()
    paint: Pool = Pool()
    judge: Pool = Pool()
    open: Pool = Pool()
    annotate: Pool = Pool()
    filter: Pool = Pool()
    store: Pool = Pool()


class Assumptions(Strict):
    """Figures that only --estimate uses."""

    source: str = Field(default="nobody measured these", description="where the figures are from")
    pictures_per_gpu_second: PositiveFloat | None = Field(
        default=None, description="None: what FLUX.1 takes on the GPU of the setting gpu"
    )
    judged_per_gpu_second: PositiveFloat = 5.0
    seconds_per_call: PositiveFloat = 2.0
    megabytes_per_picture: PositiveFloat = 0.5
    rule_yield: Share = Field(default=0.5, description="prompts that are neither easy nor hard")
    kept: Share = Field(default=0.85, description="pairs that pass annotation and filter")


def is_made(spec: str) -> bool:
    """Whether a set of edits is made, and needs no file."""
    return spec.partition(":")[0] in WORLD


DETECTED = SettingNeeds(
    "rule.judge=detector:FOLDER", lambda settings: settings.rule.judge.startswith(DETECTOR)
)
TRIPLETS = SettingNeeds("staged.prompts=0", lambda settings: not settings.staged.prompts)
PAINTED = SettingNeeds("a source that paints", lambda settings: settings.paints)
SAMPLED = SettingNeeds(
    "a source that paints, and painter.model other than synthetic",
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
    "a set of files in editing.sets",
    lambda settings: not all(map(is_made, settings.editing.sets)),
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
        "a verifier that asks it, or length.file or editing.caption, where texts are missing",
        lambda settings: ask_vlm(settings.verifiers) or settings.lacks_texts,
    ),
    "judges.device": SettingNeeds(
        "a judge with a model",
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
        "rule.families.counting, above 0", lambda settings: settings.rule.families.counting
    ),
    "rule.relations": SettingNeeds(
        "rule.families.position or rule.families.color_position, above 0",
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
        "a source whose pairs lack words", lambda settings: settings.lacks_reflections
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
    "engine.open": SettingNeeds("editing.pairs=1 or more", lambda settings: settings.editing.pairs),
    "engine.filter": TRIPLETS,
    "engine.cpus": HERE,
    "engine.object_store_gb": HERE,
}


class DataSettings(Strict):
    out: Path = Field(default=Path("runs/data"), description="one run has one folder")
    seed: Seed = 0
    image_format: Literal["jpg", "png", "webp"] = "jpg"
    benchmarks: list[str] = Field(
        default=[], description="files whose prompts must not occur: GenEval's JSON lines, or text"
    )
    images: bool = Field(default=False, description="also unpack all pictures into images/")
    licences: dict[str, str] = Field(
        default={}, description="licence of each model and set that is used, for the data card"
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
    def paints(self) -> bool:
        drafts = any(spec.partition(":")[0] == DRAFTS for spec in self.editing.sets)
        return self.paints_prompts or bool(self.editing.pairs and drafts)

    @property
    def reads_edits(self) -> bool:
        """Whether edits come from files, whose texts may be missing."""
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
        """The verifiers of each group that asks some."""
        return {
            "reward": self.reward.scorers if self.reward.prompts else [],
            "length": self.length.scorers if self.length.prompts else [],
            "filter": [] if self.staged.prompts else self.filter.scorers,
        }

    @property
    def verifiers(self) -> list[str]:
        """Those of the registry."""
        return [spec for specs in self.scorers.values() for spec in specs if spec != SYNTHETIC]
