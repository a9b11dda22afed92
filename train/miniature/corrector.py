"""The miniature's corrector: a LoRA on the condition tokens, taught to repair pictures as told.

Pairs come from the world itself (a right scene, flawed) and from the base's own mistakes, read by
the detector and repaired with the smallest edits. Texts are those that the search will use.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from reflectionflow_core.flux.branch import FluxInputs, velocity
from reflectionflow_core.flux.latents import token_ids
from reflectionflow_core.flux.lora import CorrectorLora
from reflectionflow_core.flux.text import Text as FluxText
from reflectionflow_core.flux.text import corrector_text
from reflectionflow_core.miniature.detector import BLOB, detect
from reflectionflow_core.miniature.evolver import layout, spelled_out
from reflectionflow_core.miniature.judge import Fault, faults
from reflectionflow_core.miniature.prompts import Spec, parse
from reflectionflow_core.miniature.world import Scene
from reflectionflow_core.writers.template import TemplateWriter
from train.fit import Draw
from train.miniature.base import CELLS, NAMED_BEFORE, cells, encode, image_ids, mix
from train.miniature.scenes import any_prompt, compose, flawed, mend, repaired
from train.miniature.text import Encoders

WRITER = TemplateWriter()
# Shares of the kinds of text; what is left is the reflection alone, which then must be read.
_FULL, _SPELLED, _LAYOUT = 0.4, 0.25, 0.1
_CHANGED = 2.0  # added weight of cells that the correction changes
_NAMING = 0.1  # weight of naming the cells, as in the base
_KEPT = 0.1  # share of pictures that are right and told nothing: a search corrects those too


@dataclass(frozen=True)
class Pair:
    """A flawed picture's scene as detected, what was asked, and the scene after a reflection.

    Only what the reflection says is mended, whatever else is wrong: so it must be read, and nothing
    else changes. Without a reflection the scene stays.
    """

    prompt: str
    scene: Scene
    told: Scene
    reflection: str


@dataclass(frozen=True)
class Pictures:
    """Packed latents (n, 16, 64), and what stands in each token's cell (n, 16)."""

    latents: Tensor
    cells: Tensor


@dataclass(frozen=True)
class Pairs:
    """Pairs with their flawed pictures and the targets."""

    pairs: list[Pair]
    flawed: Pictures
    told: Pictures


def synthetic(vae: AutoencoderKL, count: int, rng: np.random.Generator) -> Pairs:
    """Pairs from scenes with flaws put in."""
    pairs: list[Pair] = []
    while len(pairs) < count:
        prompt, spec = any_prompt(rng)
        right = compose(spec, rng)
        kept = Pair(prompt, right, right, "") if rng.random() < _KEPT else None
        pair = kept or pair_of(prompt, spec, flawed(right, rng), rng)
        pairs += [pair] if pair else []
    return _encoded(vae, pairs, encode(vae, [pair.scene for pair in pairs]))


def on_policy(
    vae: AutoencoderKL,
    asked: Sequence[tuple[str, Spec]],
    pictures: Sequence,
    latents: Tensor,
    rng: np.random.Generator,
) -> Pairs:
    """Pairs from pictures that the base painted for `asked`, where it painted them wrong."""
    drawn = [
        pair_of(prompt, spec, detect(picture), rng)
        for (prompt, spec), picture in zip(asked, pictures, strict=True)
    ]
    kept = [i for i, pair in enumerate(drawn) if pair]
    return _encoded(vae, [pair for pair in drawn if pair], latents[kept])


def pair_of(prompt: str, spec: Spec, scene: Scene, rng: np.random.Generator) -> Pair | None:
    """The pair of a flawed scene, or None where nothing is wrong with it."""
    right, found = repaired(scene, spec, rng)
    if not found:
        return None
    told, reflection = _as_told(scene, found, rng)
    unclear = any(BLOB in (thing.shape, thing.colour) for thing in told)
    if unclear or len(faults(told, spec)) >= len(found):
        told = right  # a blob cannot be drawn, and there may be no room to do just what is said
    return Pair(prompt, scene, told, reflection)


def _as_told(scene: Scene, found: Sequence[Fault], rng: np.random.Generator) -> tuple[Scene, str]:
    """The reflection on `found` and the scene with just that mended."""
    reflection = WRITER.write([fault.unmet for fault in found])
    for count in range(1, len(found) + 1):
        scene = mend(scene, found[count - 1], rng)
        if WRITER.write([fault.unmet for fault in found[:count]]) == reflection:
            break
    return scene, reflection


def _encoded(vae: AutoencoderKL, pairs: list[Pair], latents: Tensor) -> Pairs:
    told = [pair.told for pair in pairs]
    return Pairs(
        pairs,
        Pictures(latents, _cells([pair.scene for pair in pairs])),
        Pictures(encode(vae, told), _cells(told)),
    )


def _cells(scenes: Sequence[Scene]) -> Tensor:
    """What stands in each scene's cells; a blob has no name and counts as nothing."""
    named = [
        tuple(thing for thing in scene if BLOB not in (thing.shape, thing.colour))
        for scene in scenes
    ]
    return torch.stack([cells(scene) for scene in named])


class Student(nn.Module):
    """The LoRA, and a head used in training only: it reads off the condition tokens what is to
    stand in each cell, so that they learn to plan the mended picture and not just to show the old.
    """

    def __init__(self, lora: CorrectorLora, naming: nn.Linear) -> None:
        super().__init__()
        self.lora = lora
        self.plan = deepcopy(naming)


class CorrectorLoss:
    """Flow matching on the mended picture, the flawed one as clean condition at t = 0. Cells that
    change weigh more; image and condition tokens name the cells, as in the base's training.

    Half of the batches are made pairs, half the base's own mistakes.
    """

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        encoders: Encoders,
        naming: nn.Linear,
        student: Student,
        sets: tuple[Pairs, Pairs],
        batch: int,
    ) -> None:
        self.transformer, self.encoders, self.student = transformer, encoders, student
        self.naming = deepcopy(naming).requires_grad_(False).to(transformer.device)
        self.made, self.painted = sets
        self.batch = batch
        # Text, image and condition tokens pass this norm one after the other.
        norm = cast(Any, transformer.single_transformer_blocks[NAMED_BEFORE]).norm.norm
        self._passed: list[Tensor] = []
        norm.register_forward_pre_hook(lambda _norm, given: self._passed.append(given[0]))

    def __call__(self, draw: Draw) -> Tensor:
        rng, generator = draw.generators()
        chosen = self.made if rng.random() < 0.5 or not self.painted.pairs else self.painted
        rows = rng.integers(len(chosen.pairs), size=self.batch)
        kinds = rng.random(self.batch)
        texts = [_texts(chosen.pairs[i], kind) for i, kind in zip(rows, kinds, strict=True)]
        device = self.transformer.device
        names = chosen.told.cells[rows].to(device)
        noisy, slope, times = mix(chosen.told.latents[rows].to(device), generator)
        flawed = chosen.flawed.latents[rows].to(device)
        inputs = condition_inputs(self.encoders, noisy, times, flawed, texts)

        self._passed.clear()
        predicted = velocity(self.transformer, inputs, self.student.lora)
        _, image, condition = self._passed
        weights = 1 + _CHANGED * (names != chosen.flawed.cells[rows].to(device)).float()
        error = (predicted - slope).square().mean(2)
        loss = (weights * error).mean() / weights.mean()
        named = self.naming(image).flatten(0, 1), self.student.plan(condition).flatten(0, 1)
        return loss + _NAMING * sum(
            functional.cross_entropy(logits, names.flatten()) for logits in named
        )


def condition_inputs(
    encoders: Encoders,
    noisy: Tensor,
    times: Tensor,
    condition: Tensor,
    texts: Sequence[FluxText],
) -> FluxInputs:
    """One step's inputs, at guidance 1 as the paper trains."""
    with torch.no_grad():
        states, pooled = encoders([text.t5 for text in texts], [text.clip for text in texts])
    return FluxInputs(
        latents=noisy,
        text=states,
        pooled=pooled,
        timestep=times,
        guidance=torch.ones_like(times),
        image_ids=image_ids().to(noisy),
        condition=condition,
        condition_ids=token_ids(CELLS, CELLS, shift=-CELLS).to(noisy),
    )


def _texts(pair: Pair, kind: float) -> FluxText:
    """What CLIP and T5 read of a pair."""
    if kind < _FULL:
        return corrector_text(pair.prompt, pair.reflection)
    if kind < _FULL + _SPELLED:
        return corrector_text(spelled_out(parse(pair.prompt)), pair.reflection)
    if kind < _FULL + _SPELLED + _LAYOUT:
        return corrector_text(layout(pair.told), pair.reflection)
    return corrector_text("", pair.reflection)
