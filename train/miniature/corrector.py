"""The miniature's corrector: `train.data` makes its pairs, `train.corrector` trains the LoRA.

Half of the pairs are right scenes with flaws put in, half the base's own mistakes. A first training
reads all of them, a second one goes on with the mistakes alone, which are what a search corrects.
What is the miniature's own is added here: a sample's texts are those that a search will use, and a
second task names what is to stand in each token's cell.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from reflectionflow_core.flux.branch import FluxInputs
from reflectionflow_core.flux.lora import FILE_NAME, CorrectorLora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.text import Text, corrector_text
from reflectionflow_core.miniature.detector import BLOB, detect
from reflectionflow_core.miniature.evolver import spelled_out
from reflectionflow_core.miniature.model import SAMPLING
from reflectionflow_core.miniature.prompts import parse
from reflectionflow_core.miniature.world import SIZE, Scene
from train.corrector.flux import load
from train.corrector.samples import (
    Dropped,
    Label,
    TrainingBatch,
    another_reflection,
    text_of,
)
from train.corrector.settings import CorrectorSettings, Drops, Lora, Optimiser, Validation
from train.corrector.training import Overrides, train
from train.data.run import run as make_data
from train.data.settings import DataSettings, Editing, Engine, Filter, PainterSettings, Pool
from train.miniature.base import CELLS, NAMED_BEFORE, NAMES, cells, encode_pictures
from train.miniature.scenes import training_layout
from train.miniature.settings import MiniatureSettings
from train.miniature.text import LENGTH, Encoders
from train.processes import join, wait_for_all
from train.shard_lists import shards_in
from train.triplets import SIBLING, Triplets, sibling_group

# Shares of the kinds of text; what is left is the reflection alone, which then must be read.
_FULL, _SPELLED, _LAYOUT = 0.4, 0.25, 0.1
_KEPT = 0.1  # share of pictures that are right and have no reflection: a search corrects those too
_NAMING = 0.1  # weight of naming the cells, as in the base


def train_corrector(settings: MiniatureSettings, folder: Path) -> None:
    """The corrector of the pipeline in `folder`, into its `corrector/`."""
    asked = corrector_settings(settings, folder)
    flux = load(asked)
    if join().is_main_process:
        # Changes nothing yet; who loads the miniature expects one. Seeded, since pairs are resumed
        # only with the same weights.
        torch.manual_seed(settings.seed)
        CorrectorLora.create(flux.transformer, settings.rank).save(folder / "corrector")
        sys.stderr.write(make_data(data_settings(settings, folder)))
    wait_for_all()
    source = Pairs(flux, Triplets(shards_in(settings.out / "pairs")))
    torch.manual_seed(settings.seed)
    naming = Naming(flux, source.names)
    train(asked, Overrides(flux, source, naming.loss, naming))
    mistakes = source.without(settings.pairs)
    lora = train(going_on(asked, settings), Overrides(flux, mistakes, naming.loss, naming))
    if join().is_main_process:
        lora.save(folder / "corrector")


def data_settings(settings: MiniatureSettings, folder: Path) -> DataSettings:
    """Pairs by `train.data`: made ones, and as many that the base painted wrong."""
    return DataSettings(
        out=settings.out / "pairs",
        seed=settings.seed,
        image_format="png",
        painter=PainterSettings(
            model=str(folder),
            size=(SIZE, SIZE),
            steps=SAMPLING.steps,
            guidance=SAMPLING.guidance,
            dtype="fp32",
            device=settings.device,
        ),
        editing=Editing(pairs=settings.pairs, sets=["shapes", "drafts"]),
        filter=Filter(scorers=["exact"], near_bits=None),
        engine=Engine(shard_items=1000, slice_items=50, open=Pool(workers=2)),
        licences={"shapes world": "Apache-2.0"},
    )


def corrector_settings(settings: MiniatureSettings, folder: Path) -> CorrectorSettings:
    """The first training by `train.corrector`. Its drops stay out: the texts are chosen here."""
    return CorrectorSettings(
        model=str(folder),
        data=str(settings.out / "pairs"),
        out=settings.out / "corrector-all-pairs",
        seed=settings.seed,
        device=settings.device,
        dtype="fp32",
        target_size=SIZE,
        condition_size=SIZE,
        text_length=LENGTH,
        steps=settings.corrector_steps,
        batch=max(1, settings.corrector_batch // join(settings.device).num_processes),
        save_every=200,
        checkpointing=False,
        workers=1,
        changed_weight=2.0,
        time_shift=4.0,
        time_shifted=0.75,
        lora=Lora(rank=settings.rank),
        optimiser=Optimiser(
            name="adamw",
            rate=settings.corrector_rate,
            clip=1.0,
            warmup=100,
            decay=0.0,
            ema=0.995,
        ),
        drop=Drops(text=0, reflection=0, image=0, together=0),
        validation=Validation(every=1000, pictures=8, steps=SAMPLING.steps),
    )


def going_on(first: CorrectorSettings, settings: MiniatureSettings) -> CorrectorSettings:
    """The second training, which starts where the first one ended and slows down all the way."""
    return first.model_copy(
        update={
            "out": settings.out / "corrector",
            "steps": settings.mistake_steps,
            "lora": first.lora.model_copy(update={"start": first.out / FILE_NAME}),
            "optimiser": first.optimiser.model_copy(update={"decay": 1.0}),
        }
    )


@dataclass(frozen=True, slots=True)
class PairRow:
    index: int
    text: Text
    kept: bool  # a right picture without a reflection


class Pairs:
    """Samples in memory, their pictures encoded once; texts are drawn each time."""

    def __init__(self, flux: Flux, triplets: Triplets) -> None:
        self.flux, self.encoders = flux, Encoders()
        self.encoders.t5, self.encoders.clip = flux.t5, flux.clip
        self.labels: list[Label] = [(entry.subset, (SIZE, SIZE)) for entry in triplets.entries]
        self.keys = [entry.key for entry in triplets.entries]
        siblings = [sibling_group(key) for key in self.keys]
        self.groups = np.unique(siblings, return_inverse=True)[1]
        self.prompts = np.zeros(len(self.keys), np.uint64)  # its held-out prompts are not made
        self.texts: list[tuple[str, str, str]] = []  # prompt, reflection, the target's layout
        self.names: dict[str, Tensor] = {}  # by key, what stands in the target's cells, (16,)
        targets, flawed = [], []
        for start in range(0, len(triplets), 256):
            several = triplets[start : start + 256]
            scenes = [detect(triplet.good) for triplet in several]
            targets.append(_encoded(flux, [triplet.good for triplet in several]))
            flawed.append(_encoded(flux, [triplet.bad for triplet in several]))
            for triplet, scene in zip(several, scenes, strict=True):
                told = training_layout(scene, parse(triplet.prompt)) or triplet.prompt
                self.texts.append((triplet.prompt, triplet.reflection, told))
                self.names[triplet.key] = cells(_clear(scene))
        self.targets, self.flawed = torch.cat(targets), torch.cat(flawed)

    def without(self, made: int) -> Pairs:
        """The base's own mistakes: `train.data` numbers the pairs that it made before them."""
        kept = [i for i, key in enumerate(self.keys) if int(key.rpartition(SIBLING)[2]) >= made]
        left = copy(self)
        left.keys, left.texts = [self.keys[i] for i in kept], [self.texts[i] for i in kept]
        left.labels, left.groups = [self.labels[i] for i in kept], self.groups[kept]
        left.prompts = self.prompts[kept]
        left.targets, left.flawed = self.targets[kept], self.flawed[kept]
        return left

    def key(self, index: int) -> str:
        return self.keys[index]

    def words(self, index: int) -> tuple[str, str]:
        return self.texts[index][:2]

    def read(self, index: int, drop: Dropped, rng: np.random.Generator) -> PairRow:
        prompt, reflection, told = self.texts[index]
        if rng.random() < _KEPT:
            return PairRow(index, text_of(prompt, "", drop), kept=True)
        kind = rng.random()
        if drop.shuffled:
            reflection = another_reflection(self._reflection, index, len(self.texts))
        reflection = "" if drop.reflection else reflection
        if kind < _FULL:
            text = text_of(prompt, reflection, drop)
        elif kind < _FULL + _SPELLED:
            text = text_of(spelled_out(parse(prompt)), reflection, drop)
        elif kind < _FULL + _SPELLED + _LAYOUT:
            text = corrector_text(told, reflection)
        else:
            text = corrector_text("", reflection)
        return PairRow(index, text, kept=False)

    def _reflection(self, index: int) -> str:
        return self.texts[index][1]

    @torch.no_grad()
    def batch(self, rows: Sequence[PairRow]) -> TrainingBatch:
        device, numbers = self.flux.device, [row.index for row in rows]
        kept = torch.tensor([row.kept for row in rows])[:, None, None]
        target = self.targets[numbers]
        states, pooled = self.encoders(
            [row.text.t5 for row in rows], [row.text.clip for row in rows]
        )
        return TrainingBatch(
            keys=tuple(self.keys[number] for number in numbers),
            target=target.to(device),
            grid=(CELLS, CELLS),
            condition=torch.where(kept, target, self.flawed[numbers]).to(device),
            condition_grid=(CELLS, CELLS),
            text=states,
            pooled=pooled,
            shown=torch.ones(len(rows), dtype=torch.bool, device=device),
        )


class Naming(nn.Module):
    """The second task: image and condition tokens name what is to stand in each cell, so that they
    plan the corrected picture and the condition does not just show the old one.
    """

    def __init__(self, flux: Flux, names: dict[str, Tensor]) -> None:
        super().__init__()
        width = flux.transformer.inner_dim
        self.image, self.condition = nn.Linear(width, NAMES), nn.Linear(width, NAMES)
        self.names = names
        # Text, image and condition tokens pass this norm one after the other.
        self._passed: deque[Tensor] = deque(maxlen=3)
        norm = cast(Any, flux.transformer.single_transformer_blocks[NAMED_BEFORE]).norm.norm
        norm.register_forward_pre_hook(lambda _norm, given: self._passed.append(given[0]))

    def loss(self, batch: TrainingBatch, inputs: FluxInputs) -> Tensor:
        del inputs  # the tokens come from FLUX itself
        _, image, condition = self._passed
        names = torch.cat([self.names[key] for key in batch.keys]).to(image.device)
        named = self.image(image).flatten(0, 1), self.condition(condition).flatten(0, 1)
        return _NAMING * torch.stack([functional.cross_entropy(n, names) for n in named]).sum()


def _encoded(flux: Flux, pictures: Sequence) -> Tensor:
    pixels = torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2)
    return encode_pictures(flux.vae, pixels)


def _clear(scene: Scene) -> Scene:
    """Without blobs, which have no name."""
    return tuple(thing for thing in scene if BLOB not in (thing.shape, thing.colour))
