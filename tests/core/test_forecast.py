"""What a search will cost, said before it begins, and never exceeded."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace

import pytest
from fakes import Toys, ToyVerifier
from PIL import Image

from reflectionflow_core.archive import Run, files, open_archive
from reflectionflow_core.archive.experience import experience
from reflectionflow_core.cli.unloaded import UnloadedPainter, check_rules
from reflectionflow_core.protocols import preview_steps
from reflectionflow_core.record import Cost, InputError
from reflectionflow_core.regions.masks import mask_text
from reflectionflow_core.registry import ActorChoice
from reflectionflow_core.report import forecast_text
from reflectionflow_core.search import STRATEGIES, forecast, search
from reflectionflow_core.search.forecast import forecast_together
from reflectionflow_core.settings import Budget, SearchSettings

PROMPT = "a red cube"
SETTINGS = SearchSettings(width=2, depth=3, drafts=3)


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only


@pytest.mark.parametrize("budget", [Budget(), Budget(images=5), Budget(steps=22, vlm_calls=9)])
@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "staged"])
def test_no_search_costs_more_than_was_said(strategy, budget):
    settings = replace(SETTINGS, strategy=strategy, budget=budget)
    actors = Toys(verifier=ToyVerifier(pass_at=2.0)).actors()
    said = forecast(settings, actors)
    assert said is not None
    *_, history = search(PROMPT, settings, actors)
    spent, most = history.cost, said.most
    assert said.sure == (strategy not in ("potential", "scouts"))
    if said.sure:
        assert (spent.images, spent.steps) <= (most.images, most.steps)
        assert spent.vlm_calls <= most.vlm_calls
    if strategy == "reflection" and budget == Budget():
        assert (most.images, most.steps, most.vlm_calls) == (9, 36, 21)
        *_, begun = (h for h in search(PROMPT, settings, actors) if len(h) <= 4)
        left = forecast(settings, actors, begun)
        assert left is not None and left.most.images == 5


def test_searches_that_share_a_budget_cost_together_what_it_pays_for_at_most():
    settings = replace(SETTINGS, stop="passed", width=1, drafts=1, depth=2)
    each = forecast(settings, Toys().actors(), pass_rate=0.5)
    assert each is not None
    free = forecast_together([each] * 3, Budget(), Cost())
    assert free is not None and free.usual is not None
    assert (free.most.images, free.usual.images, free.sure) == (9, 3 * 1.75, True)
    tight = forecast_together([each] * 3, Budget(images=7), Cost(images=3))
    assert tight is not None and tight.usual is not None
    assert (tight.most.images, tight.usual.images) == (4, pytest.approx(4))
    steps = forecast_together([each] * 3, Budget(steps=20), Cost())
    assert steps is not None
    assert (steps.most.images, steps.most.steps) == (5, 20)  # of 4 steps each
    spent = forecast_together([each] * 3, Budget(images=3), Cost(images=3))
    assert spent is not None and spent.most == Cost()
    assert forecast_together([each, None], Budget(), Cost()) is None


def test_the_average_follows_from_how_often_a_picture_passes():
    settings = replace(SETTINGS, stop="passed", width=1, drafts=1, depth=2)
    found = forecast(settings, Toys().actors(), pass_rate=0.5)
    assert found is not None and found.usual is not None
    assert found.usual.images == 1.75  # 1 + 1/2 + 1/4
    batches = forecast(replace(settings, drafts=4, batch_size=4), Toys().actors(), pass_rate=0.5)
    assert batches is not None and batches.usual is not None
    assert batches.usual.images == 4 + 1 / 16 + 1 / 32
    rounds = replace(settings, stop="never", strategy="adaptive", drafts=4)
    whole = forecast(rounds, Toys().actors(), pass_rate=0.5)
    assert whole is not None and whole.usual is not None
    assert whole.usual.images > 4  # a pass ends this strategy at the end of a round
    endless = forecast(replace(settings, stop="never"), Toys().actors(), pass_rate=0.5)
    assert endless is not None and endless.usual is None
    text = forecast_text(found, seconds_each=2.0)
    assert text.startswith(
        "At most 3 pictures, 12 steps, 7 VLM calls without repeats, 6.0 s; "
        "on average 1.8 pictures, 7 steps, 3 VLM calls, 3.5 s"
    )
    assert "unknown time" in forecast_text(found)
    for each, price in ((0.1, "0.7 (0.1"), (300.0, "2,100 (300"), (1e-5, "0.00007 (0.00001")):
        assert f"a price of {price} a call)" in forecast_text(found, price_each=each)
    assert "too large" in forecast_text(forecast(replace(SETTINGS, depth=2000), Toys().actors()))
    limited = forecast(replace(SETTINGS, budget=Budget(seconds=90)), Toys().actors())
    assert "no batch begins that would exceed 1 min 30 s" in forecast_text(limited)
    scouts = forecast(replace(SETTINGS, strategy="scouts"), Toys().actors(), pass_rate=0.5)
    assert scouts is not None and scouts.usual is None
    assert re.match(
        r"About \d+ steps, 3 pictures or more painted to the end", forecast_text(scouts)
    )


def test_runs_with_a_mask_count_as_earlier_runs_too(tmp_path):
    settings = replace(SETTINGS, mask=mask_text(Image.new("L", (8, 8), 255)))
    run = Run(PROMPT, settings, {"model": "toy"})
    with open_archive(tmp_path / "a") as archive:
        archive.begin(run)
        for history in search(PROMPT, settings, Toys().actors()):
            archive.append(history.charged(Cost(seconds={"draft": 1.0})))
        assert archive.history.rounds[1][0].region is not None
        assert experience(tmp_path, run).pictures == len(archive.history)


def test_earlier_runs_of_the_same_models_tell_how_often_a_picture_passes(tmp_path, monkeypatch):
    run = Run(PROMPT, SETTINGS, {"model": "toy", "size": (8, 8)}, {"model": "1234"})
    actors = Toys(verifier=ToyVerifier(pass_at=0.0)).actors()
    for name, each in (("a", run), ("b", run), ("c", replace(run, identity={"model": "5"}))):
        with open_archive(tmp_path / name) as archive:
            archive.begin(each)
            for history in search(PROMPT, SETTINGS, actors):
                archive.append(history.charged(Cost(seconds={"draft": 1.0})))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text("{")
    shutil.copytree(tmp_path / "a", tmp_path / "damaged")
    (tmp_path / "damaged" / "timing.json").write_text('{"seconds": {"a": 1e308}, "slowest": 0}')
    found = experience(tmp_path, run)
    assert (found.pictures, found.passed, found.pass_rate) == (18, 18, 1.0)
    assert found.seconds_each is not None
    assert experience(tmp_path / "none", run).pass_rate is None
    monkeypatch.setattr("reflectionflow_core.archive.experience.MOST_RUNS", 1)
    for newest, pictures in (("b", 9), ("c", 0), ("damaged", 0)):
        os.utime(tmp_path / newest / "run.json", (2**32, 2**32))
        assert experience(tmp_path, run).pictures == pictures
        os.utime(tmp_path / newest / "run.json", (0, 0))


@pytest.mark.parametrize("steps", [1, 4, 8, 10, 12, 30])
def test_a_forecast_knows_how_many_steps_a_preview_takes(steps: int) -> None:
    assert (
        UnloadedPainter(steps).preview_steps == preview_steps(steps) == min(6, max(1, steps // 2))
    )


def test_prompts_that_rules_for_shapes_cannot_work_with_are_refused_before_a_model_is_loaded() -> (
    None
):
    settings = SearchSettings()
    flux = ActorChoice(model="some/flux", verifier="checklist")
    with pytest.raises(
        InputError, match=r"evolver rules understands only .*--axes noise,reflection"
    ):
        check_rules("two cups", flux, settings)
    with pytest.raises(InputError, match=r"verifier exact understands only .* another --verifier"):
        check_rules("two cups", replace(flux, verifier="exact", evolver="vlm"), settings)
    check_rules("two cups", replace(flux, evolver="vlm"), settings)
    check_rules("two cups", flux, replace(settings, axes=("noise", "reflection")))
    check_rules("two red circles", replace(flux, verifier="exact"), settings)
