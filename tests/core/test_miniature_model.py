"""The weights that are shipped: they load as any FLUX does, paint, correct, and can be searched."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import corrections, drafts
from PIL import Image

from reflectionflow_core.flux.settings import SamplingSettings
from reflectionflow_core.miniature.detector import detect
from reflectionflow_core.miniature.model import FOLDER, LORA, SAMPLING, load_miniature
from reflectionflow_core.miniature.prompts import parse
from reflectionflow_core.miniature.world import Thing, render
from reflectionflow_core.record import History
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.search import search
from reflectionflow_core.settings import SearchSettings
from train.miniature import measure
from train.miniature.scenes import compose

MEGABYTES = 2**20


@pytest.fixture(scope="module")
def actors():
    return load_miniature()


def test_the_weights_are_small_enough_to_ship() -> None:
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file()) <= 16 * MEGABYTES


def test_no_configuration_says_where_the_weights_were_made() -> None:
    assert not any("_name_or_path" in file.read_text() for file in FOLDER.rglob("*.json"))


def test_stock_flux_pipeline_loads_the_folder_and_paints_the_same_picture(actors) -> None:
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline

    pipeline: Any = FluxPipeline.from_pretrained(FOLDER, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(
        "a photo of a red circle",
        width=SAMPLING.width,
        height=SAMPLING.height,
        num_inference_steps=SAMPLING.steps,
        guidance_scale=SAMPLING.guidance,
        max_sequence_length=SAMPLING.max_sequence_length,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    (ours,) = actors[0].paint(drafts(["a photo of a red circle"], [5]))
    assert np.abs(np.asarray(stock, int) - np.asarray(ours, int)).max() <= 1


def test_it_paints_what_is_asked_more_often_than_not(actors) -> None:
    asked = [("a photo of a red circle", parse("a red circle"))] * 24
    right = measure.are_right(asked, measure.paint(actors[0], asked))
    assert right.mean() >= 0.5


@pytest.mark.parametrize("colour", ["yellow", "black"])
def test_the_corrector_does_what_the_reflection_says(actors, colour: str) -> None:
    flawed = Image.fromarray(render((Thing("circle", "red", 24, 36, 9),)))
    told = f"recolor the red circle {colour}"
    prompts, seeds = ["a photo of a circle"] * 12, list(range(12))  # any colour is right
    corrected = actors[1].paint(corrections([flawed] * 12, prompts, [told] * 12, seeds))
    obeyed = [[thing.colour for thing in detect(picture)] == [colour] for picture in corrected]
    assert sum(obeyed) >= 8


def test_the_corrector_leaves_a_right_picture_as_it_is(actors) -> None:
    rng = np.random.default_rng(0)
    prompt = "a photo of a blue square and a yellow circle"
    pictures = [Image.fromarray(render(compose(parse(prompt), rng))) for _ in range(12)]
    kept = actors[1].paint(corrections(pictures, [prompt] * 12, [""] * 12, list(range(12))))
    assert measure.are_right([(prompt, parse(prompt))] * 12, kept).mean() >= 0.75

    def distance(ones: list[Image.Image], others: list[Image.Image]) -> float:
        pairs = zip(ones, others, strict=True)
        return float(np.mean([np.abs(np.asarray(a, int) - np.asarray(b, int)) for a, b in pairs]))

    assert distance(pictures, kept) < distance(pictures[1:] + pictures[:1], kept) / 4


def test_the_search_finds_a_better_picture_and_finds_it_again() -> None:
    settings = SearchSettings(width=3, depth=1, seed=25)
    actors = build_actors(ActorChoice(), settings)
    prompt = "a photo of a green square and a purple square"

    def run() -> History:
        (history,) = deque(search(prompt, settings, actors), maxlen=1)
        return history

    one, two = run(), run()
    assert [c.image.tobytes() for c in one] == [c.image.tobytes() for c in two]
    assert [c.seed for c in one] == [c.seed for c in two]
    assert one.cost.images == 6
    assert one.cost.steps == 6 * SAMPLING.steps
    assert one.best.rank > max(c.rank for c in one.rounds[0])


def test_the_miniatures_folder_also_works_as_any_flux_folder_does() -> None:
    choice = ActorChoice(
        model=str(FOLDER),
        lora=str(LORA / "pytorch_lora_weights.safetensors"),
        sampling=SamplingSettings(64, 64, SAMPLING.steps),
        dtype="fp32",
        device="cpu",
    )
    settings = SearchSettings(width=1, depth=0, seed=3)
    prompt = "a photo of two blue squares"
    (ours,) = search(prompt, settings, build_actors(ActorChoice(), settings))
    (folders,) = search(prompt, settings, build_actors(choice, settings))
    assert folders.best.image.tobytes() == ours.best.image.tobytes()


def test_other_noise_is_another_picture(actors) -> None:
    one, two = actors[0].paint(drafts(["a photo of a red circle"] * 2, [1, 2]))
    assert one.tobytes() != two.tobytes()


def test_a_lora_of_another_model_is_refused(tmp_path: Path) -> None:
    from core.tiny_flux import tiny_transformer

    from reflectionflow_core.flux.lora import CorrectorLora
    from reflectionflow_core.record import InputError

    CorrectorLora.create(tiny_transformer(), 4).save(tmp_path)
    with pytest.raises(InputError, match="LoRA"):
        load_miniature(tmp_path)
