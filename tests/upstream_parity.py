"""The published program beside ours: `PYTHONPATH=. python tests/upstream_parity.py CHECKOUT`.

CHECKOUT is a checkout of Diffusion-CoT/ReflectionFlow at commit 333d65a. Its code runs on small
models with random weights, in fp32 on the CPU. Prints a table; the exit code is 1 if a row differs.
`make test` does not collect it: the published code is not ours to copy.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any
from unittest.mock import MagicMock, patch

import diffusers.utils
import numpy as np
import safetensors.torch
import torch
from asking import corrections
from core.tiny_flux import loud_lora, random_inputs, tiny_pipeline, tiny_transformer
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.transformers import transformer_flux
from PIL import Image
from upstream_reward import reward_differences
from webdataset.writer import TarWriter

from reflectionflow_core.detection.rules import RELATIONS, Detection, examine
from reflectionflow_core.flux.branch import velocity
from reflectionflow_core.flux.condition import ConditionSettings
from reflectionflow_core.flux.lora import CorrectorLora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.painter import FluxCorrector
from reflectionflow_core.flux.settings import SamplingSettings
from reflectionflow_core.flux.text import corrector_text, training_text
from reflectionflow_core.geneval.tasks import read_task
from train.triplets import SUBSETS, Triplet, Triplets, encoded

ADAPTER = "cot"  # the published program's name for its LoRA
PROMPT, REFLECTION = "a red circle left of a blue square", "make the circle green"
# What the published code imports from FLUX's module of an older diffusers.
MOVED = ("USE_PEFT_BACKEND", "scale_lora_layers", "unscale_lora_layers")


@dataclass(frozen=True)
class Check:
    """A line of the table: cases that agree if they lie at most `limit` apart."""

    what: str
    differences: Callable[[], list[float]]
    limit: float = 0.0

    def run(self) -> tuple[str, bool]:
        """The line, and whether a case differs."""
        try:
            found = self.differences()
        except ModuleNotFoundError as error:
            line = f"| {self.what} | not run | it needs the package {error.name} |"
            return line, False
        # Counted by what agrees: NaN is above no limit.
        equal = sum(difference <= self.limit for difference in found)
        apart = f"at most {max(found):.1e} apart, {self.limit:g} allowed"
        return f"| {self.what} | {equal} of {len(found)} | {apart} |", equal < len(found)


# Batch, rows and columns of image and condition, T5 tokens, with guidance or not, rank.
BranchCase = tuple[int, tuple[int, int], tuple[int, int], int, bool, int]
BRANCH = (
    (1, (4, 4), (2, 2), 6, True, 4),
    (3, (4, 4), (2, 2), 6, True, 4),
    (3, (3, 5), (5, 1), 6, True, 4),
    (3, (2, 2), (1, 4), 6, True, 16),
    (1, (4, 4), (2, 2), 6, False, 4),
    (3, (3, 5), (5, 1), 6, False, 16),
    (1, (32, 32), (32, 32), 512, True, 4),
    (1, (16, 24), (32, 32), 512, False, 4),
    (3, (16, 16), (32, 32), 512, True, 32),
    (1, (64, 64), (32, 32), 512, True, 32),
    (1, (32, 32), (64, 64), 512, True, 32),
)
# Fewer than four tokens, as of pictures below 32 pixels, are multiplied by another routine alone
# than beside others, and it rounds differently.
FEW_TOKENS = ((3, (1, 1), (1, 3), 6, True, 16), (1, (1, 2), (2, 2), 6, False, 4))
ROUNDING = 2e-6
REWARD_ROUNDING = 1e-6  # of LoRA merged into the weights


def branch_differences(checkout: Path, cases: Sequence[BranchCase]) -> list[float]:
    theirs = published(checkout / "train_flux", "flux.transformer")
    with torch.no_grad():
        return [_branch_difference(theirs, *case) for case in cases]


def _branch_difference(
    theirs: Any,
    batch: int,
    image: tuple[int, int],
    condition: tuple[int, int],
    words: int,
    guided: bool,
    rank: int,
) -> float:
    plain, adapted = tiny_transformer(guided), tiny_transformer(guided)
    lora = loud_lora(plain, rank)
    with_adapter(adapted, lora)
    inputs = random_inputs(batch, image, condition, words)
    expected = theirs.tranformer_forward(
        adapted,
        condition_latents=inputs.condition,
        condition_ids=inputs.condition_ids,
        condition_type_ids=None,
        hidden_states=inputs.latents,
        encoder_hidden_states=inputs.text,
        pooled_projections=inputs.pooled,
        timestep=inputs.timestep,
        img_ids=inputs.image_ids,
        txt_ids=torch.zeros(words, 3),
        guidance=inputs.guidance if guided else None,
        return_dict=False,
    )[0]
    return float((velocity(plain, inputs, lora) - expected).abs().max())


@dataclass(frozen=True)
class Painting:
    """A whole picture: width, height and the condition's side in pixels."""

    width: int = 64
    height: int = 64
    steps: int = 8
    condition: int = 64
    style: str = "training"
    guided: bool = True
    guidance: float = 3.5
    words: int = 512


PAINTINGS = (
    Painting(steps=2),
    Painting(steps=30),
    Painting(style="upstream"),
    Painting(style="upstream", steps=28, width=96),
    Painting(width=128, height=80),
    Painting(width=80, height=128, condition=128),
    Painting(guided=False),
    Painting(guidance=1.0, words=24),
    Painting(width=256, height=256, condition=512, steps=4),
)


def picture_differences(checkout: Path) -> list[float]:
    generate = published(checkout / "train_flux", "flux.generate").generate
    condition = published(checkout / "train_flux", "flux.condition").Condition
    # It samples the condition, and the same picture would not give the same one.
    with patch.object(DiagonalGaussianDistribution, "sample", DiagonalGaussianDistribution.mode):
        return [_picture_difference(generate, condition, painting) for painting in PAINTINGS]


def _picture_difference(generate: Any, condition: Any, painting: Painting) -> float:
    ours, theirs = tiny_pipeline(painting.guided), tiny_pipeline(painting.guided)
    lora = loud_lora(ours.transformer)
    with_adapter(theirs.transformer, lora)
    theirs.set_progress_bar_config(disable=True)
    text = corrector_text(PROMPT, REFLECTION, painting.style)
    draft, side = soft_noise(painting.width, painting.height), painting.condition
    seen_by = partial(condition, ADAPTER, None, position_delta=[0, -side // 16])
    expected = generate(
        theirs,
        conditions=[seen_by(draft.resize((side, side)))],
        default_lora=True,
        prompt=text.clip,
        prompt_2=text.t5,
        width=painting.width,
        height=painting.height,
        num_inference_steps=painting.steps,
        guidance_scale=painting.guidance,
        max_sequence_length=painting.words,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    sampling = SamplingSettings(
        painting.width, painting.height, painting.steps, painting.guidance, painting.words
    )
    seen = ConditionSettings(side, prompt_style=painting.style)
    corrector = FluxCorrector(Flux.from_pipeline(ours), lora, sampling, seen)
    (picture,) = corrector.paint(corrections([draft], [PROMPT], [REFLECTION], [7]))
    return picture_difference(picture, expected)


COLOURS = ("red", "blue")
CLASSES = ("cup", "dog", "bench")
KINDS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
PICTURES_A_KIND = 1000


def verdict_differences(evaluation: Path) -> list[float]:
    """1 for each picture of random detections that the official program judges otherwise."""
    dice = np.random.default_rng(0)
    official = official_geneval(evaluation)
    with NamedTemporaryFile(suffix=".png") as picture:
        Image.new("RGB", (8, 8)).save(picture.name)
        found: list[float] = []
        for kind in KINDS * PICTURES_A_KIND:
            asked, boxes = random_task(kind, dice), [random_boxes(dice) for _ in CLASSES]
            official.inference_detector = lambda *_, boxes=boxes: boxes
            theirs = official.evaluate_image(picture.name, asked)["correct"]
            things = [
                Detection(name, box[4], tuple(box[:4]))
                for name, rows in zip(CLASSES, boxes, strict=True)
                for box in rows.tolist()
            ]
            ours = examine(read_task(asked), things, lambda seen: [colour_of(t.box) for t in seen])
            found.append(float(ours.passed != theirs))
    return found


def official_geneval(evaluation: Path) -> Any:
    """The official program as a module, without its detector and CLIP and with its defaults."""
    absent = without("mmdet", "mmdet.apis", "open_clip", "clip_benchmark", "clip_benchmark.metrics")
    # It refuses to be imported on a machine without a GPU.
    on_gpu = patch.object(torch.cuda, "is_available", lambda: True)
    with absent, on_gpu:
        official: Any = published_file(evaluation / "evaluate_images.py")
    official.THRESHOLD, official.COUNTING_THRESHOLD = 0.3, 0.9
    official.MAX_OBJECTS, official.NMS_THRESHOLD, official.POSITION_THRESHOLD = 16, 1.0, 0.1
    official.object_detector, official.classnames = None, CLASSES
    official.color_classification = lambda _, seen, __: [colour_of(box) for box, _ in seen]
    return official


def random_task(kind: str, dice: np.random.Generator) -> dict[str, Any]:
    """A line of GenEval's metadata."""
    first, second = dice.permutation(CLASSES)[:2].tolist()
    count = int(dice.integers(2, 5)) if kind == "counting" else 1
    include: list[dict[str, Any]] = [{"class": first, "count": count}]
    if kind in ("two_object", "position", "color_attr"):
        include.append({"class": second, "count": 1})
    if kind == "position":
        include[1]["position"] = [str(dice.choice(RELATIONS)), 0]
    if kind in ("colors", "color_attr"):
        for need in include:
            need["color"] = str(dice.choice(COLOURS))
    task = {"tag": kind, "prompt": "", "include": include}
    return {**task, "exclude": [{"class": first, "count": count + 1}]} if count > 1 else task


def random_boxes(dice: np.random.Generator) -> np.ndarray:
    """Up to five boxes of a class, (n, 5): left, top, right, bottom, score."""
    corner, size = dice.uniform(0, 200, (2, dice.integers(6), 2))
    score = 1 - dice.uniform(0, 1, (len(corner), 1)) ** 3
    return np.hstack([corner, corner + size, score])


def colour_of(box: Sequence[float]) -> str:
    """One of two colours for a box, in place of what CLIP sees there."""
    return COLOURS[int(box[0]) % 2]


SAMPLES = 10  # of each subset


def sample_differences(checkout: Path) -> list[float]:
    """How far the pictures lie apart that both loaders give of a sample, 0 to 255.

    256 where the text that T5 is given is another.
    """
    # It makes tensors of the pictures in the end, which are not compared.
    with without("torchvision", "torchvision.transforms"):
        module = published_file(checkout / "train_flux" / "train" / "data.py")
    theirs = module.ImageConditionWebDataset
    with TemporaryDirectory() as folder:
        shard = write_shard(Path(folder) / "genref_0.tar")
        ours = {(it.subset, it.prompt): it for it in Triplets([shard])}
        return [
            _sample_difference(ours[subset, row["original_prompt"]], row)
            for subset in SUBSETS
            for row in islice(_published_samples(theirs, shard, subset), SAMPLES)
        ]


def _published_samples(loader: Any, shard: Path, subset: str) -> Iterator[dict[str, Any]]:
    never = dict.fromkeys(("drop_text_prob", "drop_image_prob", "drop_reflection_prob"), 0.0)
    ratios = {subset: [1.0]}
    sizes = {"condition_size": 64, "target_size": 64}
    return iter(loader(str(shard), split_ratios=ratios, return_pil_image=True, **sizes, **never))


def _sample_difference(ours: Triplet, theirs: Mapping[str, Any]) -> float:
    if theirs["description"] != training_text(ours.prompt, ours.reflection).t5:
        return 256.0
    return max(map(picture_difference, (ours.good, ours.bad), theirs["pil_image"]))


def write_shard(file: Path) -> Path:
    with TarWriter(str(file)) as shard:
        for number, subset in enumerate(SUBSETS * SAMPLES):
            good, bad = (encoded(soft_noise(64, 64, 2 * number + i), "jpg") for i in (0, 1))
            words = {"reflection.txt": f"edit {number}", "prompt.txt": f"prompt {number}"}
            pictures = {"good_image.jpg": good, "bad_image.jpg": bad}
            shard.write({"__key__": f"{number:05}", **pictures, **words, "subset.txt": subset})
    return file


def with_adapter(transformer: Any, lora: CorrectorLora) -> None:
    """Registers the LoRA with peft, from its file, as the published program loads it."""
    weights = safetensors.torch.load(lora.serialised())
    transformer.load_lora_adapter(weights, prefix="transformer", adapter_name=ADAPTER)


def soft_noise(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def picture_difference(one: Image.Image, other: Image.Image) -> float:
    """The largest difference of a pixel's value, 0 to 255."""
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def published(folder: Path, name: str) -> Any:
    """A module of the checkout, imported as its own programs do."""
    for moved in MOVED:
        if not hasattr(transformer_flux, moved):
            setattr(transformer_flux, moved, getattr(diffusers.utils, moved))
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def without(*packages: str) -> Any:
    """A context in which the packages are stubs: what the published code imports and is not run."""
    return patch.dict(sys.modules, {name: MagicMock() for name in packages})


def published_file(file: Path) -> Any:
    """A module by its file, where its name is taken: `train` is a package here, too."""
    spec = importlib.util.spec_from_file_location(f"published_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="the published repository at 333d65a")
    parser.add_argument("--geneval", type=Path, help="the folder of GenEval's evaluate_images.py")
    given = parser.parse_args()
    if not (given.checkout / "train_flux" / "flux" / "generate.py").is_file():
        parser.error(f"{given.checkout} has no train_flux/flux. Give a checkout of ReflectionFlow.")
    if given.geneval is not None and not (given.geneval / "evaluate_images.py").is_file():
        parser.error(f"{given.geneval} has no evaluate_images.py. Give GenEval's `evaluation`.")
    checks = [
        Check("corrector branch, one step", partial(branch_differences, given.checkout, BRANCH)),
        Check(
            "the same with fewer than four tokens",
            partial(branch_differences, given.checkout, FEW_TOKENS),
            ROUNDING,
        ),
        Check("whole pipeline, pixels of 0 to 255", partial(picture_differences, given.checkout)),
        Check(
            "shard with the published keys, samples", partial(sample_differences, given.checkout)
        ),
        Check(
            "reward model's class, scores",
            partial(reward_differences, given.checkout, published_file),
            REWARD_ROUNDING,
        ),
    ]
    if given.geneval is not None:
        verdicts = partial(verdict_differences, given.geneval)
        checks.append(Check("GenEval's rules, verdicts on random detections", verdicts))
    sys.stdout.write("| what | equal | how close |\n|---|---|---|\n")
    differs = False
    for check in checks:
        line, wrong = check.run()
        sys.stdout.write(f"{line}\n")
        differs = differs or wrong
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
