"""FLUX as the painters of a search: `pytest tests/core/test_flux_painter.py`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from asking import corrections, drafts, restarts
from core.tiny_flux import loud_lora, tiny_pipeline
from PIL import Image

from reflectionflow_core.flux.branch import velocity
from reflectionflow_core.flux.condition import ConditionSettings, encode_picture
from reflectionflow_core.flux.latents import unpack
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.painter import (
    FluxCorrector,
    FluxGenerator,
    FluxRow,
    _decode,
    _inputs,
)
from reflectionflow_core.flux.sampling import agreement, make_schedule
from reflectionflow_core.flux.settings import SamplingSettings
from reflectionflow_core.flux.text import Text
from reflectionflow_core.protocols import Painter, Previewing, Restarting, Silent
from reflectionflow_core.record import InputError, Neighbour, Request, Restart

SMALL = SamplingSettings(width=48, height=32, steps=3, max_sequence_length=24)
PROMPTS = ["a red circle", "a blue square left of a circle", "a green square"]
REFLECTIONS = ["make the circle blue", "", "make the square red"]


class CancelledError(Exception):
    pass


class Watcher(Silent):
    """Records every report, and cancels after `patience` of them."""

    def __init__(self, patience: int | None = None) -> None:
        self.patience = patience
        self.reports: list[tuple[str, int, int, Image.Image | None]] = []

    def report(self, phase: str, done: int, total: int, preview: Image.Image | None = None) -> None:
        self.reports.append((phase, done, total, preview))

    def check(self) -> None:
        if self.patience is not None and len(self.reports) >= self.patience:
            raise CancelledError


@pytest.fixture(scope="module")
def pipeline():
    pipeline = tiny_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def flux(pipeline) -> Flux:
    return Flux.from_pipeline(pipeline)


@pytest.fixture
def corrector(flux: Flux) -> FluxCorrector:
    return FluxCorrector(flux, loud_lora(flux.transformer), SMALL, ConditionSettings(size=32))


def noisy(seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    dice = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=dice, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max())


def test_they_are_painters_with_previews_and_restarts(corrector: FluxCorrector) -> None:
    generator: Painter = FluxGenerator(corrector.flux, SMALL)
    second: Painter = corrector
    assert generator.steps == second.steps == 3
    assert isinstance(generator, Previewing) and isinstance(generator, Restarting)


@pytest.mark.parametrize("guidance", [True, False])
def test_a_draft_is_the_picture_of_the_stock_pipeline(guidance: bool) -> None:
    pipeline: Any = tiny_pipeline(guidance)
    pipeline.set_progress_bar_config(disable=True)
    stock = pipeline(
        PROMPTS[0],
        width=48,
        height=32,
        num_inference_steps=3,
        guidance_scale=3.5,
        max_sequence_length=24,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    (draft,) = FluxGenerator(Flux.from_pipeline(pipeline), SMALL).paint(drafts(PROMPTS[:1], [7]))
    assert difference(draft, stock) == 0
    assert np.asarray(stock).std() > 10


def test_drafts_do_not_depend_on_a_loaded_corrector(corrector: FluxCorrector) -> None:
    generator = FluxGenerator(corrector.flux, SMALL)
    before = generator.paint(drafts(PROMPTS, [1, 2, 3]))
    corrector.paint(corrections(before, PROMPTS, REFLECTIONS, [4, 5, 6]))
    assert list(map(difference, generator.paint(drafts(PROMPTS, [1, 2, 3])), before)) == [0, 0, 0]


def test_a_batch_of_corrections_equals_three_alone(corrector: FluxCorrector) -> None:
    pictures, seeds = [noisy(i) for i in range(3)], [4, Neighbour(4, 5, 0.5), 6]
    together = corrector.paint(corrections(pictures, PROMPTS, REFLECTIONS, seeds))
    for row in range(3):
        (alone,) = corrector.paint(
            corrections(pictures[row : row + 1], [PROMPTS[row]], [REFLECTIONS[row]], [seeds[row]])
        )
        assert difference(alone, together[row]) <= 1
    assert difference(together[0], together[2]) > 20


@pytest.mark.parametrize("what", ["picture", "prompt", "reflection", "seed", "LoRA"])
def test_everything_that_is_asked_changes_the_correction(corrector, what: str) -> None:
    asked = {"picture": noisy(0), "prompt": PROMPTS[0], "reflection": REFLECTIONS[0], "seed": 1}
    other = {"picture": noisy(1), "prompt": PROMPTS[1], "reflection": REFLECTIONS[2], "seed": 2}
    before = corrector.paint(corrections(*([value] for value in asked.values())))
    if what == "LoRA":
        corrector.lora.at("x_embedder").up.zero_()
    else:
        asked[what] = other[what]
    after = corrector.paint(corrections(*([value] for value in asked.values())))
    assert difference(before[0], after[0]) > 2


def test_pictures_of_different_shapes_keep_their_order(corrector: FluxCorrector) -> None:
    corrector.condition = ConditionSettings(size=64, fit="fit")
    pictures = [noisy(0, (64, 32)), noisy(1, (32, 64)), noisy(2, (64, 32))]
    watcher = Watcher()
    together = corrector.paint(corrections(pictures, PROMPTS, REFLECTIONS, [1, 2, 3]), watcher)
    assert [done for _, done, _, _ in watcher.reports] == [1, 2, 3, 4, 5, 6]
    for row in range(3):
        (alone,) = corrector.paint(
            corrections([pictures[row]], [PROMPTS[row]], [REFLECTIONS[row]], [row + 1])
        )
        assert difference(alone, together[row]) <= 1


def test_every_step_is_reported_with_a_preview(corrector: FluxCorrector) -> None:
    watcher = Watcher()
    corrector.paint(
        corrections([noisy(0), noisy(1)], PROMPTS[:2], REFLECTIONS[:2], [1, 2]), watcher
    )
    assert [report[:3] for report in watcher.reports] == [("correct", i, 3) for i in (1, 2, 3)]
    assert [report[3].size for report in watcher.reports if report[3]] == [(96, 32)] * 3


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_cancel_stops_within_one_step_and_leaves_everything_usable(corrector, patience) -> None:
    ask = ([noisy(0)], PROMPTS[:1], REFLECTIONS[:1], [1])
    before = corrector.paint(corrections(*ask))
    watcher = Watcher(patience)
    with pytest.raises(CancelledError):
        corrector.paint(corrections(*ask), watcher)
    assert len(watcher.reports) == patience
    assert difference(corrector.paint(corrections(*ask))[0], before[0]) == 0


def test_watching_does_not_change_the_picture(flux: Flux) -> None:
    generator = FluxGenerator(flux, SMALL)
    (watched,) = generator.paint(drafts(PROMPTS[:1], [1]), Watcher())
    assert difference(watched, generator.paint(drafts(PROMPTS[:1], [1]))[0]) == 0


def test_nothing_asked_is_nothing_painted(corrector: FluxCorrector) -> None:
    assert corrector.paint([]) == []
    assert FluxGenerator(corrector.flux, SMALL).paint([]) == []


def test_a_correction_needs_a_picture(corrector: FluxCorrector) -> None:
    with pytest.raises(ValueError, match="need a parent picture"):
        corrector.paint([Request(1, PROMPTS[0], reflection="x", corrects=True)])


def test_values_that_are_not_numbers_are_an_error_and_not_a_black_picture(corrector) -> None:
    corrector.lora.at("x_embedder").up.fill_(torch.nan)
    with pytest.raises(InputError, match=r"not numbers.*black picture"):
        corrector.paint(corrections([noisy(0)], PROMPTS[:1], REFLECTIONS[:1], [1]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 100),
        ("height", 0),
        ("steps", 0),
        ("steps", 1001),
        ("guidance", float("nan")),
        ("max_sequence_length", 513),
    ],
)
def test_impossible_sampling_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=r"Give "):
        replace(SMALL, **{name: value})


LONGER = replace(SMALL, steps=8)


def test_a_preview_is_the_picture_of_fewer_steps_of_the_same_noise(flux: Flux) -> None:
    generator = FluxGenerator(flux, LONGER)
    assert generator.preview_steps == 4
    looks = generator.preview(drafts(PROMPTS[:2], [1, 2]))
    few = FluxGenerator(flux, replace(SMALL, steps=4)).paint(drafts(PROMPTS[:2], [1, 2]))
    assert [difference(look.image, image) for look, image in zip(looks, few, strict=True)] == [0, 0]


def test_a_look_changes_nothing_about_the_picture(corrector: FluxCorrector) -> None:
    asked = ([noisy(1)], PROMPTS[:1], REFLECTIONS[:1], [5])
    before = corrector.paint(corrections(*asked))
    (look,) = corrector.preview(corrections(*asked))
    assert difference(before[0], corrector.paint(corrections(*asked))[0]) == 0
    assert look.image.size == before[0].size


def test_a_single_prediction_has_never_converged(flux: Flux) -> None:
    generator = FluxGenerator(flux, replace(SMALL, steps=1))
    assert generator.preview_steps == 1
    assert [look.converged for look in generator.preview(drafts(PROMPTS[:1], [1]))] == [False]


def test_predictions_agree_that_lie_close_to_each_other_for_their_size() -> None:
    clean = torch.tensor([[[3.0, 4.0]], [[6.0, 8.0]]])
    before = clean + torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]])
    assert agreement(before, clean).tolist() == pytest.approx([0.2, 0.1])


def test_a_repainted_picture_is_the_stock_way_of_image_to_image(flux: Flux) -> None:
    """x = (1 - t) picture + t noise, and the steps from t on."""
    generator, picture = FluxGenerator(flux, LONGER), noisy(3)
    levels = make_schedule(flux, 8, (48 // 16) * (32 // 16)).sigmas.tolist()
    (ours,) = generator.paint(restarts([picture], PROMPTS[:1], [Restart(7, levels[5] + 0.001)]))
    assert generator.steps_from(levels[5]) == 3

    rows = [FluxRow(Text(PROMPTS[0], PROMPTS[0]), 7)]
    inputs = _inputs(flux, rows, LONGER, (2, 3))
    clean = encode_picture(flux, picture)
    latents = (1 - levels[5]) * clean + levels[5] * inputs.latents
    with torch.no_grad():
        for now, then in pairwise(levels[5:]):
            state = replace(inputs, latents=latents, timestep=torch.full((1,), now))
            latents = latents + (then - now) * velocity(flux.transformer, state)
    (theirs,) = _decode(flux, unpack(latents, 2, 3))
    assert difference(ours, theirs) <= 1


def test_repainting_from_noise_alone_is_a_draft_of_that_noise(flux: Flux) -> None:
    generator = FluxGenerator(flux, LONGER)
    (draft,) = generator.paint(drafts(PROMPTS[:1], [9]))
    (ours,) = generator.paint(restarts([noisy(1)], PROMPTS[:1], [Restart(9, 1.0)]))
    assert difference(ours, draft) == 0
    assert generator.steps_from(1.0) == 8


def test_pictures_of_any_size_and_level_are_repainted_in_their_order(flux: Flux) -> None:
    generator = FluxGenerator(flux, LONGER)
    pictures = [noisy(1), noisy(2, (20, 70)), noisy(3)]
    seeds = [Restart(1, 0.9), Restart(2, 0.0), Restart(3, 0.9)]
    together = generator.paint(restarts(pictures, PROMPTS, seeds))
    for index, picture in enumerate(together):
        alone = generator.paint(restarts([pictures[index]], [PROMPTS[index]], [seeds[index]]))[0]
        assert picture.size == (48, 32)
        assert difference(picture, alone) <= 1
    assert generator.steps_from(0.0) == 1  # the last step, where no level is so low
