"""The published program beside ours: `PYTHONPATH=. python tests/upstream_parity.py CHECKOUT`.

CHECKOUT is a checkout of Diffusion-CoT/ReflectionFlow at commit 333d65a. Its code runs on small
models with random weights, in fp32 on the CPU. Prints a table; the exit code is 1 if a row differs.
`make test` does not collect it: the published code is not ours to copy.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers.utils
import numpy as np
import safetensors.torch
import torch
from asking import corrections
from core.tiny_flux import loud_lora, random_inputs, tiny_pipeline, tiny_transformer
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.transformers import transformer_flux
from PIL import Image

from reflectionflow_core.flux.branch import velocity
from reflectionflow_core.flux.condition import ConditionSettings
from reflectionflow_core.flux.lora import CorrectorLora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.painter import FluxCorrector
from reflectionflow_core.flux.settings import SamplingSettings
from reflectionflow_core.flux.text import corrector_text

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


def with_adapter(transformer: Any, lora: CorrectorLora) -> None:
    """Registers the LoRA with peft, from its file, as the published program loads it."""
    weights = safetensors.torch.load(lora.serialised())
    transformer.load_lora_adapter(weights, prefix="transformer", adapter_name=ADAPTER)


def soft_noise(width: int, height: int) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="the published repository at 333d65a")
    given = parser.parse_args()
    if not (given.checkout / "train_flux" / "flux" / "generate.py").is_file():
        parser.error(f"{given.checkout} has no train_flux/flux. Give a checkout of ReflectionFlow.")
    checks = [
        Check("corrector branch, one step", partial(branch_differences, given.checkout, BRANCH)),
        Check(
            "the same with fewer than four tokens",
            partial(branch_differences, given.checkout, FEW_TOKENS),
            ROUNDING,
        ),
        Check("whole pipeline, pixels of 0 to 255", partial(picture_differences, given.checkout)),
    ]
    sys.stdout.write("| what | equal | how close |\n|---|---|---|\n")
    differs = False
    for check in checks:
        line, wrong = check.run()
        sys.stdout.write(f"{line}\n")
        differs = differs or wrong
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
