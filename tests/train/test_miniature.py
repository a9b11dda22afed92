"""Rebuilding the miniature: its data, and the whole program at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from asking import corrections, drafts
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from reflectionflow_core.flux.branch import velocity
from reflectionflow_core.flux.load import load_flux
from reflectionflow_core.flux.lora import CorrectorLora
from reflectionflow_core.flux.text import training_text
from reflectionflow_core.identity import digest
from reflectionflow_core.miniature.detector import BLOB, detect
from reflectionflow_core.miniature.evolver import as_told, is_sized, nearest
from reflectionflow_core.miniature.judge import faults, holds
from reflectionflow_core.miniature.model import FOLDER, load_miniature
from reflectionflow_core.miniature.prompts import (
    BETWEEN,
    FAMILIES,
    SIDES,
    Relation,
    ShapeGroup,
    parse,
    sides,
    spec_of,
)
from reflectionflow_core.miniature.world import COLOURS, Scene, Thing, render
from reflectionflow_core.record import InputError
from train.corrector.loss import mixed
from train.corrector.samples import WHOLE
from train.fit import Draw
from train.miniature import base, distil, measure, text, vae
from train.miniature.corrector import Naming, PairRow, Pairs
from train.miniature.edits import hides_what_is_right, pair_of
from train.miniature.scenes import (
    RARE,
    any_prompt,
    common_scene,
    compose,
    flawed,
    training_layout,
)
from train.miniature.settings import MiniatureSettings
from train.miniature.shards import write_shard
from train.miniature.training import run, save_pipeline
from train.shard_lists import shards_in
from train.triplets import Triplets

ROOT = Path(__file__).parents[2]
TOY = (
    "vae_steps=2 text_steps=2 base_steps=2 distil_steps=2 corrector_steps=2 mistake_steps=2 "
    "pictures=40 pairs=12 measured=12"
)


@pytest.fixture(scope="module")
def measured() -> set[str]:
    """What the held-out prompts mean, over the whole grammar."""
    return {spec.meaning for family in FAMILIES for spec in sides(family, held_out=True)}


def test_no_training_prompt_of_the_grammar_asks_for_what_a_held_out_one_asks(
    measured: set[str],
) -> None:
    trained = {spec.meaning for family in FAMILIES for spec in sides(family, held_out=False)}
    assert len(measured) > 2000
    assert not trained & measured


def test_no_text_of_the_trainings_has_the_meaning_of_a_held_out_prompt(measured: set[str]) -> None:
    """Prompts as they are spelled, layouts by all that they show."""
    rng = np.random.default_rng(0)
    for _ in range(3000):
        prompt, spec = any_prompt(rng)
        assert parse(prompt).meaning == spec.meaning
        assert spec.meaning not in measured
        scene = compose(spec, rng)
        sized = is_sized(spec)
        groups = tuple(
            ShapeGroup(1, thing.shape, thing.colour, thing.size if sized else None)
            for thing in scene
        )
        if training_layout(scene, spec):
            assert spec_of(groups).meaning not in measured
            told = map(as_told, scene)
            assert not {spec_of(groups, (r,)).meaning for r in shown_by(tuple(told))} & measured


def shown_by(scene: Scene) -> Iterator[Relation]:
    """The relations of a few things, two by two or one between two others."""
    for numbers in permutations(range(len(scene)), 2):
        first, second = (scene[number] for number in numbers)
        yield from (
            Relation(s, *numbers[:1], numbers[1:]) for s in SIDES if holds(s, first, (second,))
        )
    for numbers in permutations(range(len(scene)), 3):
        if holds(BETWEEN, scene[numbers[0]], tuple(scene[number] for number in numbers[1:])):
            yield Relation(BETWEEN, numbers[0], numbers[1:])


def test_layouts_that_would_tell_a_held_out_prompt_are_left_out() -> None:
    spec = next(s for s in sides("counting", held_out=True) if s.groups[0].colour)
    (group,) = spec.groups
    plain = spec_of((replace(group, colour=None),))
    scene = compose(spec, np.random.default_rng(0))
    assert not faults(scene, plain)
    assert training_layout(scene, plain) is None


def test_a_layout_that_says_a_held_out_relation_is_left_out() -> None:
    spec = next(s for s in sides("position", held_out=True) if s.groups[0].colour)
    scene = nearest((), spec)
    assert training_layout(scene, spec_of(spec.groups)) is None


def test_scenes_of_the_base_show_nothing_rare() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        spec, scene = common_scene(rng)
        assert not faults(scene, spec)
        assert not RARE & {(thing.shape, thing.colour) for thing in scene}


def test_the_clip_tokenizer_knows_every_word_and_is_the_same_in_every_process() -> None:
    """Its numbers are those that the shipped weights were trained with."""
    tokenizer = text.clip_tokenizer()
    assert all(tokenizer.tokenize(w) == [w + text.END] for w in (*text.vocabulary(), ","))
    shipped = json.loads((FOLDER / "tokenizer" / "tokenizer.json").read_text("utf-8"))
    assert tokenizer.get_vocab() == shipped["model"]["vocab"]


def test_a_pipeline_is_saved_with_the_same_bytes_before_and_after_its_use(tmp_path: Path) -> None:
    """A resumed run knows its painter by the files' digest."""
    coder = AutoencoderKL.from_pretrained(FOLDER / "vae")
    model = base.Base(text.Encoders())
    save_pipeline(model, coder, tmp_path / "before")
    model.encoders(["a red circle"], ["a red circle"])
    save_pipeline(model, coder, tmp_path / "after")
    assert digest(tmp_path / "before") == digest(tmp_path / "after")


def test_texts_are_whole_words_and_all_but_a_few_layouts_fit() -> None:
    rng = np.random.default_rng(1)
    tokenizer = text.t5_tokenizer()
    read = [tokenizer.tokenize(text.any_text(rng).t5) for _ in range(500)]
    assert all(token.startswith("\u2581") or token == "," for tokens in read for token in tokens)
    assert np.mean([len(tokens) < text.LENGTH for tokens in read]) >= 0.98


def test_pairs_fix_what_they_say() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        prompt, spec = any_prompt(rng)
        scene = flawed(compose(spec, rng), rng)
        pair = pair_of(prompt, spec, scene, rng)
        assert (pair is None) == (not faults(scene, spec))
        if pair:
            assert pair.reflection
            left = faults(pair.corrected, spec)
            assert len(left) < len(faults(scene, spec))
            assert not left or len(faults(scene, spec)) > 1


def test_pairs_of_unclear_pictures_can_be_drawn() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        prompt, spec = any_prompt(rng)
        unclear = tuple(
            replace(
                thing,
                colour=BLOB if rng.random() < 0.3 else thing.colour,
                shape=BLOB if rng.random() < 0.3 else thing.shape,
            )
            for thing in compose(spec, rng)
        )
        pair = pair_of(prompt, spec, unclear, rng)
        if pair:
            assert len(faults(pair.corrected, spec)) < len(faults(unclear, spec))
            render(pair.corrected)


def test_touching_things_that_are_read_as_one_give_no_pair_where_one_of_them_is_right() -> None:
    touching = (Thing("triangle", "black", 24, 32, 8), Thing("cross", "yellow", 37, 32, 8))
    picture = Image.fromarray(render(touching))
    scene = detect(picture)
    assert [thing.colour for thing in scene] == [BLOB]
    asked = parse("a yellow cross and a black triangle"), parse("a red cross and a black circle")
    assert [hides_what_is_right(picture, scene, spec) for spec in asked] == [True, False]


def test_cells_name_the_thing_that_covers_them() -> None:
    cells = base.cells((Thing("circle", "red", 8, 8, 7), Thing("triangle", "purple", 56, 56, 7)))
    names = 1, 1 + 2 * len(COLOURS) + list(COLOURS).index("purple")
    assert cells.tolist() == [names[0], *[0] * 14, names[1]]


def test_times_stay_inside_zero_and_one_and_lean_towards_noise() -> None:
    times = base.sample_times(20_000, torch.Generator().manual_seed(0))
    assert times.min() > 0
    assert times.max() < 1
    assert 0.65 < times.mean() < 0.75


@pytest.mark.slow
def test_the_whole_program_runs_at_toy_size_and_leaves_weights_that_load(tmp_path: Path) -> None:
    out = tmp_path / "mini"
    command = [sys.executable, "-m", "train.miniature", f"out={out}", *TOY.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    figures = json.loads((out / "measured.json").read_text())
    assert set(figures) == {"vae", "base", "one_correction"}
    generator, repairer = load_miniature(folder=out / "weights")
    configs = [file.read_text() for file in (out / "weights").rglob("*.json")]
    assert not any(str(tmp_path) in text for text in configs)
    (picture,) = generator.paint(drafts(["a circle"], [1]))
    assert repairer.paint(corrections([picture], ["a circle"], ["add a circle"], [2]))[0].size == (
        64,
        64,
    )


def test_a_setting_that_does_not_exist_is_refused() -> None:
    command = [sys.executable, "-m", "train.miniature", "stepz=2"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "stepz" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_of_other_settings_is_refused(tmp_path: Path, monkeypatch) -> None:
    def killed(_: MiniatureSettings) -> base.Base:
        raise RuntimeError("killed")

    monkeypatch.setattr("train.miniature.training.train_base", killed)
    chosen = MiniatureSettings(out=tmp_path, device="cpu")
    with pytest.raises(RuntimeError, match="killed"):
        run(chosen)
    with pytest.raises(RuntimeError, match="killed"):
        run(chosen.model_copy(update={"measured": 12}))
    with pytest.raises(InputError, match=r"was started with seed=0 \(now 1\), vae_steps=4000"):
        run(chosen.model_copy(update={"seed": 1, "vae_steps": 9}))


def test_every_loss_computes_where_its_model_is() -> None:
    """On the device without numbers, which refuses a tensor of another device as a GPU does."""
    rng = np.random.default_rng(3)
    coder = vae.new_vae()
    coder.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    drawn = [common_scene(rng) for _ in range(6)]
    scenes = [scene for _, scene in drawn]
    latents, cells = base.encode(coder, scenes), torch.stack([base.cells(s) for s in scenes])
    bank = base.Bank(scenes, [spec for spec, _ in drawn], latents, cells)
    pictures = vae.bank(6, rng)

    elsewhere = base.Base(text.Encoders()).to("meta")
    losses = [
        vae.CroppedLoss(vae.on_device(coder, "meta"), pictures, 2),
        text.ReaderLoss(text.Reader(text.Encoders()).to("meta"), 4),
        base.BaseLoss(elsewhere, bank, 4),
        distil.DistilLoss(elsewhere, bank, 4),
    ]
    for loss in losses:
        assert loss(Draw(0, 0)).device.type == "meta"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    shards = tmp_path_factory.mktemp("shards")
    write_shard(shards / "0.tar", 8, FAMILIES, seed=0)
    return Pairs(load_flux(FOLDER, dtype="fp32"), Triplets(shards_in(shards)))


def test_the_correctors_samples_have_the_texts_of_a_search(pairs: Pairs) -> None:
    rng = np.random.default_rng(5)
    rows = [pairs.read(i % 8, WHOLE, rng) for i in range(400)]
    kept = [row for row in rows if row.kept]
    assert 20 < len(kept) < 60
    assert all("[Reflexion]" not in row.text.t5 for row in kept)
    reflected = [row for row in rows if not row.kept]
    assert all(pairs.texts[row.index][1] in row.text.t5 for row in reflected)
    assert 0.15 < np.mean([row.text.clip == "" for row in reflected]) < 0.35


def test_a_kept_picture_is_its_own_target(pairs: Pairs) -> None:
    text = training_text("a circle", "")
    batch = pairs.batch([PairRow(0, text, kept=True), PairRow(0, text, kept=False)])
    assert torch.equal(batch.condition[0], batch.target[0])
    assert not torch.equal(batch.condition[1], batch.target[1])


def test_the_second_task_teaches_the_lora_to_name_the_cells(pairs: Pairs) -> None:
    """Its loss reaches the LoRA through FLUX, and a few steps of it lower it."""
    torch.manual_seed(0)
    lora = CorrectorLora.create(pairs.flux.transformer, 8)
    naming = Naming(pairs.flux, pairs.names)
    rng = np.random.default_rng(6)
    batch = pairs.batch([pairs.read(i, WHOLE, rng) for i in range(8)])
    inputs, _ = mixed(batch, torch.randn(batch.target.shape), torch.full((8,), 0.9))
    optimiser = torch.optim.Adam([*lora.parameters(), *naming.parameters()], lr=1e-2)
    losses = []
    for _ in range(6):
        velocity(pairs.flux.transformer, inputs, lora)
        loss = naming.loss(batch, inputs)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(weight.grad is not None for weight in naming.parameters())
    assert any(weight.grad is not None and weight.grad.any() for weight in lora.parameters())


def test_a_correction_errs_more_without_its_reflection() -> None:
    generator, corrector = load_miniature()
    asked = measure.held_out(8)
    found = measure.correction_errors(corrector, asked, measure.paint(generator, asked))
    assert len(found["none"]) == len(found["reflection"]) > 0
    assert measure.lead(found["none"], found["reflection"])["mean"] > 0.02
