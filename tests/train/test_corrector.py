"""The corrector's training as a whole: it learns what it should, goes on exactly, stops with a
sentence, and its LoRA is the published kind: `pytest tests/train/test_corrector.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from corrector_toys import SMALL, settings, shards, toy_flux, triplet, write
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from reflectionflow_core.archive import files
from reflectionflow_core.archive.files import locked
from reflectionflow_core.flux.branch import FluxInputs
from reflectionflow_core.flux.lora import FILE_NAME, Mode, load_corrector_lora
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import MINIATURE_WEIGHTS
from reflectionflow_core.report.words import duration
from train.base_models import PARTS
from train.corrector.beforehand import choice_of
from train.corrector.dry_run import dry_run, write_triplets
from train.corrector.estimate import estimate
from train.corrector.loss import FlowLoss, change_weights, logit_normal
from train.corrector.samples import TrainingBatch
from train.corrector.settings import CorrectorSettings, Lora
from train.corrector.training import Overrides, train
from train.fit import Draw
from train.gpus import GpuSettings
from train.latents.encoding import encode
from train.latents.estimate import estimate as estimate_latents
from train.latents.settings import LatentsSettings
from train.miniature.shards import write_shard
from train.reports import ReportSettings
from train.run_folder import SETTINGS
from train.settings import put, read_config

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "train" / "configs"


@pytest.fixture
def flux():
    return toy_flux()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return shards(tmp_path / "data")


def curve(out: Path) -> dict[int, Any]:
    """The logged losses by step."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    assert len(dict(losses)) == len(losses)  # every step once
    return dict(losses)


def batch(rows: int = 2, shown: bool = True) -> TrainingBatch:
    dice = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(rows, *shape, generator=dice)

    kept = torch.full((rows,), shown)
    return TrainingBatch(
        ("a", "b"), draw(16, 64), (4, 4), draw(4, 64), (2, 2), draw(6, 8), draw(8), kept
    )


# The loss


def test_whoever_knows_noise_and_picture_has_no_loss_and_nothing_else_has_none() -> None:
    known = batch()
    seen: list[FluxInputs] = []

    def oracle(inputs: FluxInputs) -> Tensor:
        seen.append(inputs)
        t = inputs.timestep[:, None, None]
        return (inputs.latents - known.target) / t  # x_t = (1 - t) x_0 + t x_1

    loss = FlowLoss(oracle, lambda _: known, logit_normal())
    assert loss(Draw(0, 0)).item() < 1e-8
    (inputs,) = seen
    assert torch.equal(inputs.guidance, torch.ones(2))
    assert inputs.condition is known.condition  # clean at every time
    assert inputs.condition_ids is not None
    assert inputs.condition_ids[:, 2].tolist() == [-2, -1, -2, -1]
    blind = FlowLoss(lambda given: torch.zeros_like(given.latents), lambda _: known, logit_normal())
    assert blind(Draw(0, 0)).item() > 1


def test_noise_and_times_follow_from_the_draw() -> None:
    def loss(draw: Draw) -> float:
        zero = FlowLoss(lambda i: i.latents, lambda _: batch(), logit_normal())
        return zero(draw).item()

    assert loss(Draw(0, 1)) == loss(Draw(0, 1))
    assert len({loss(d) for d in (Draw(0, 1), Draw(1, 1), Draw(0, 2), Draw(0, 1, 1))}) == 4


def test_times_are_a_sigmoid_of_a_normal_variable_or_moved_towards_noise() -> None:
    dice = torch.Generator().manual_seed(0)
    plain, moved = (logit_normal(shift)(20_000, dice) for shift in (1.0, 4.0))
    assert float(plain.logit().mean()) == pytest.approx(0, abs=0.03)
    assert float(plain.logit().std()) == pytest.approx(1, abs=0.03)
    assert float(moved.median()) == pytest.approx(0.8, abs=0.01)
    assert moved.min() > 0 and moved.max() < 1


def test_tokens_that_change_weigh_more() -> None:
    flat = replace(batch(), target=torch.ones(2, 16, 64), condition=torch.ones(2, 4, 64))
    assert change_weights(flat, 3.0).eq(1).all()
    flat.target[:, 5] = 4.0  # row 1, column 1: in the first of the condition's tokens
    weights = change_weights(flat, 3.0)
    assert weights[:, [0, 1, 4, 5]].max() == 4.0
    assert weights[:, [2, 3, 8, 15]].eq(1).all()
    assert change_weights(replace(flat, shown=torch.zeros(2, dtype=torch.bool)), 3.0).eq(1).all()


def test_the_loss_computes_where_its_batch_is() -> None:
    """On the device without numbers, which refuses a tensor of another device as a GPU does."""
    names = ("target", "condition", "text", "pooled", "shown")
    there = replace(batch(), **{name: getattr(batch(), name).to("meta") for name in names})
    loss = FlowLoss(lambda inputs: inputs.latents * 1, lambda _: there, logit_normal(), 2.0)
    assert loss(Draw(0, 0)).device.type == "meta"


# Runs


def test_it_learns_one_correction(flux, tmp_path: Path) -> None:
    data = write(tmp_path / "data", [triplet(0), triplet(1)])
    chosen = settings(
        tmp_path / "out",
        data,
        steps=60,
        batch=4,
        optimiser={"name": "adamw", "rate": 0.01},
        validation={"samples": 0},
        drop={"text": 0, "reflection": 0, "image": 0, "together": 0},
    )
    train(chosen, Overrides(flux=flux))
    losses = list(curve(tmp_path / "out").values())
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": {"name": "adamw", "rate": 0.01, "ema": 0.9}, "accumulate": 2},
        {"lora": {"rank": 4, "tokens": "all", "attention": "independent"}, "max_aspect": 2.0},
    ],
)
def test_five_steps_and_five_more_are_ten(flux, data: Path, tmp_path: Path, changes) -> None:
    train(settings(tmp_path / "whole", data, **changes), Overrides(flux=flux))
    train(settings(tmp_path / "cut", data, **changes, steps=5), Overrides(flux=flux))
    train(settings(tmp_path / "cut", data, **changes), Overrides(flux=flux))
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert len(curve(tmp_path / "cut")) == 10
    one, other = (load_file(tmp_path / name / FILE_NAME) for name in ("whole", "cut"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    kept = sorted(file.name for file in (tmp_path / "cut" / "checkpoints").iterdir())
    assert kept == ["corrector-0000005.pt", "corrector-0000010.pt"]


def test_what_it_saves_is_the_published_kind_and_does_something(flux, data, tmp_path: Path) -> None:
    out = tmp_path / "out"
    trained = train(settings(out, data), Overrides(flux=flux))
    with safe_open(out / FILE_NAME, "pt") as stored:
        assert stored.metadata() == {"format": "pt"}
    loaded = load_corrector_lora(out, flux.transformer)
    assert loaded.mode == Mode()
    assert all(
        torch.equal(a, b) for a, b in zip(trained.parameters(), loaded.parameters(), strict=True)
    )
    assert any(layer.up.any() for _, layer in loaded.items())
    sheets = sorted((out / "sheets").iterdir())
    assert [sheet.name for sheet in sheets] == ["0000000.png", "0000010.png"]
    assert Image.open(sheets[-1]).width == 3 * 256 + 2 * 8 + 2 * 16  # enlarged, to be read


def notes(out: Path) -> list[dict[str, Any]]:
    """What validations logged."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "validation" in line]


def test_every_validation_logs_the_error_by_words_and_says_it(
    flux, data, tmp_path: Path, capsys
) -> None:
    train(settings(tmp_path / "out", data), Overrides(flux=flux))
    first, last = notes(tmp_path / "out")
    assert (first["step"], last["step"]) == (0, 10)
    assert len({first[name] for name in ("validation", "untold", "shuffled")}) == 3
    said = capsys.readouterr().err
    assert f"Step 10: held-out error {last['validation']:.4f} with the true reflection" in said
    assert (
        f"none minus true {last['untold_minus_told']:+.4f} ± {last['standard_error']:.4f}" in said
    )


def test_a_run_that_was_killed_before_it_had_validated_does_so_once(flux, data, tmp_path) -> None:
    given = settings(tmp_path, data)
    train(given, Overrides(flux=flux))
    log, sheet = tmp_path / "log.jsonl", tmp_path / "sheets" / "0000010.png"
    whole, shown = log.read_text(), sheet.read_bytes()
    sheet.unlink()
    log.write_text(whole[: whole.rindex("{")] + '{"step": 10, "mended": {"told": 0.3}')
    for _ in range(2):
        train(given, Overrides(flux=flux))
        assert (log.read_text(), sheet.read_bytes()) == (whole, shown)
    for file in (tmp_path / "checkpoints").iterdir():
        file.unlink()  # killed before the first of them
    train(given, Overrides(flux=flux))
    assert [note["step"] for note in notes(tmp_path)] == [0, 10]


def test_encoded_samples_need_no_encoders(flux, data: Path, tmp_path: Path, capsys) -> None:
    chosen = settings(tmp_path / "out", data, latents=tmp_path / "latents")
    names = LatentsSettings.model_fields.keys() - {"out", "gpu"}
    views = {name: value for name, value in chosen.model_dump().items() if name in names}
    encode(LatentsSettings(**views, out=tmp_path / "latents"), flux)
    flux.t5 = flux.clip = None
    train(chosen, Overrides(flux=flux))
    assert len(curve(tmp_path / "out")) == 10
    assert "Run train.latents with shuffled=true alone=true" in capsys.readouterr().err


def test_samples_that_are_seen_often_are_encoded_first(flux, tmp_path: Path, monkeypatch) -> None:
    data = shards(tmp_path / "data", 6)
    few = settings(tmp_path / "out", data, steps=2, batch=6, latents="auto")
    train(few, Overrides(flux=flux))
    made = {file.name: file.stat().st_mtime_ns for file in (few.out / "latents").glob("*.saf*")}
    assert len(made) == 2
    assert all("nothing_minus_alone" in note for note in notes(few.out))
    data.rename(tmp_path / "elsewhere")  # which the latents do not need
    train(few.model_copy(update={"steps": 3}), Overrides(flux=flux))
    assert all((few.out / "latents" / name).stat().st_mtime_ns == at for name, at in made.items())
    shards(data, 7)
    for changed in ({}, {"data": str(tmp_path / "elsewhere")}):
        with pytest.raises(InputError, match=r"encoded 6 samples .* Give latents=null to read"):
            train(few.model_copy(update=changed), Overrides(flux=flux))
    seen = choice_of(few, 6, 1)
    assert seen.first and "each is seen 2.0 times" in seen.reason
    assert not choice_of(few, 7, 1).first and choice_of(few, 12, 2).first
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    full = choice_of(few, 6, 1)
    assert not full.first and "0.0 GB are free" in full.reason
    once = settings(tmp_path / "once", tmp_path / "elsewhere", steps=1, latents="auto")
    train(once, Overrides(flux=flux))
    assert not (once.out / "latents").exists()


def test_a_lora_is_gone_on_from(flux, data: Path, tmp_path: Path) -> None:
    first = train(settings(tmp_path / "first", data), Overrides(flux=flux))
    start = {"rank": 4, "start": tmp_path / "first"}
    train(settings(tmp_path / "next", data, lora=start, steps=1), Overrides(flux=flux))
    one = json.loads((tmp_path / "next" / "log.jsonl").read_text().splitlines()[0])
    last = json.loads((tmp_path / "first" / "log.jsonl").read_text().splitlines()[-1])
    assert one["validation"] == pytest.approx(last["validation"], rel=1e-5)
    assert list(first.parameters())
    with pytest.raises(InputError, match="trained with tokens=condition"):
        train(
            settings(tmp_path / "other", data, lora={**start, "tokens": "all"}),
            Overrides(flux=flux),
        )


def test_a_caller_adds_a_task_with_weights_of_its_own(flux, data: Path, tmp_path: Path) -> None:
    head = nn.Linear(8, 1)
    torch.nn.init.ones_(head.weight)

    def small(batch: TrainingBatch, _inputs: FluxInputs) -> Tensor:
        return head(batch.target[:, 0, :8]).square().mean()

    adamw = {"name": "adamw", "rate": 0.01}
    overrides = Overrides(flux=flux, extra=small, learner=head)
    train(settings(tmp_path / "out", data, optimiser=adamw), overrides)
    assert not torch.equal(head.weight, torch.ones_like(head.weight))
    assert set(load_file(tmp_path / "out" / FILE_NAME)) == {
        key for key in load_file(tmp_path / "out" / FILE_NAME) if ".lora_" in key
    }


# What goes wrong


def test_a_loss_that_is_not_finite_names_step_and_samples(flux, data, tmp_path: Path) -> None:
    def late(batch: TrainingBatch, _inputs: FluxInputs) -> Tensor:
        late_by.append(batch.keys)
        return torch.tensor(float("nan") if len(late_by) == 8 else 0.0)

    late_by: list[tuple[str, ...]] = []
    with pytest.raises(InputError, match="At step 8 the loss is nan") as message:
        train(settings(tmp_path / "out", data), Overrides(flux=flux, extra=late))
    said = str(message.value)
    assert "corrector-0000005.pt is good" in said
    advice: dict[str, Any] = {}
    put(advice, said.partition("are wrong: '")[2].removesuffix("'."))
    assert advice == {"leave_out": list(late_by[-1])} and '"' in said  # else 000123 is a number
    drawn: list[str] = []

    def seen(batch: TrainingBatch, _inputs: FluxInputs) -> Tensor:
        drawn.extend(batch.keys)
        return torch.zeros(())

    advised = {"leave_out": list(late_by[-1]), "optimiser": {"rate": 0.5}}
    chosen = settings(tmp_path / "out", data, **advised)
    train(chosen, Overrides(flux=flux, extra=seen))  # from step 5, that was saved
    assert len(curve(tmp_path / "out")) == 10
    assert len(drawn) == 10 and not {*drawn} & {*late_by[-1]}


def test_a_sample_that_is_left_out_must_be_there(flux, data, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave_out names nobody, but there is no such sample"):
        train(settings(tmp_path / "out", data, leave_out=["nobody"]), Overrides(flux=flux))


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    flux, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write_all = tmp_path / "out", files.write_all

    def full(descriptor: int, content: bytes) -> None:
        if (out / "checkpoints" / "corrector-0000005.pt").exists() and len(content) > 10_000:
            write_all(descriptor, content[:5000])
            raise OSError(28, "No space left on device")
        write_all(descriptor, content)

    monkeypatch.setattr(files, "write_all", full)
    with pytest.raises(InputError, match="No space left on device"):
        train(settings(out, data), Overrides(flux=flux))
    monkeypatch.setattr(files, "write_all", write_all)
    assert not list(out.rglob("*.tmp"))
    train(settings(out, data), Overrides(flux=flux))
    assert sorted(curve(out)) == list(range(1, 11))


def test_two_runs_into_one_folder_are_refused(flux, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(InputError, match="Another process is writing"):
        train(settings(tmp_path / "out", data), Overrides(flux=flux))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"batch": 3}, "batch"),
        ({"seed": 1}, "seed"),
        ({"lora": {"rank": 8}}, "lora.rank"),
        ({"accumulate": 2}, "accumulate times processes"),
        ({"validation": {"samples": 3}}, "validation.samples"),
    ],
)
def test_a_resumed_run_may_not_become_another(
    flux, data: Path, tmp_path: Path, changes: dict, name: str
) -> None:
    train(settings(tmp_path / "out", data, steps=1), Overrides(flux=flux))
    with pytest.raises(InputError, match=f"was started with {name}="):
        train(settings(tmp_path / "out", data, **changes), Overrides(flux=flux))


def test_a_run_is_not_resumed_with_other_weights(flux, data: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    for part in PARTS:
        (base / part).mkdir(parents=True)
        (base / part / "model.safetensors").write_bytes(b"before")

    def trained(steps: int) -> None:
        train(settings(out, data, model=str(base), steps=steps), Overrides(flux=flux))

    trained(1)
    trained(2)
    (base / "transformer" / "model.safetensors").write_bytes(b"behind")
    with pytest.raises(InputError, match=r"other weights \(transformer\)\. Give the same model"):
        trained(3)
    record = json.loads((out / SETTINGS).read_text())
    del record["models"]  # a run of an earlier version
    (out / SETTINGS).write_text(json.dumps(record))
    trained(3)
    assert sorted(curve(out)) == [1, 2, 3]


def test_a_start_that_was_refused_may_be_corrected(flux, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Give siblings=1"):
        train(settings(tmp_path / "out", data, siblings=2), Overrides(flux=flux))
    with pytest.raises(InputError, match="Check the keys"):
        train(settings(tmp_path / "out", data, leave_out=["nobody"]), Overrides(flux=flux))
    assert not (tmp_path / "out").exists()  # an empty folder says nothing
    train(settings(tmp_path / "out", data, steps=1), Overrides(flux=flux))
    with pytest.raises(InputError, match="was started with siblings=1"):
        train(settings(tmp_path / "out", data, siblings=2), Overrides(flux=flux))


def test_a_lora_that_cannot_be_read_is_refused_before_samples_are_encoded(
    flux, data: Path, tmp_path: Path
) -> None:
    way = {"latents": "auto", "steps": 50, "lora": {"start": tmp_path / "none.safetensors"}}
    with pytest.raises(InputError, match=r"none\.safetensors"):
        train(settings(tmp_path / "out", data, **way), Overrides(flux=flux))
    assert not (tmp_path / "out").exists()


def test_a_finished_training_says_that_it_is_and_a_longer_one_what_its_rate_does(
    flux, data: Path, tmp_path: Path, capsys
) -> None:
    way = {"optimiser": {"name": "adamw", "rate": 0.01, "decay": 0.4}}
    for steps in (2, 2, 3):
        train(settings(tmp_path / "out", data, steps=steps, **way), Overrides(flux=flux))
    said = capsys.readouterr().err
    assert said.count("All 2 steps were done before, so nothing is trained.") == 1
    assert said.count("started with steps=2, now steps=3: the learning rate falls") == 1


def test_it_says_that_fewer_samples_are_held_out_than_asked_for(
    flux, tmp_path: Path, capsys
) -> None:
    same = write(tmp_path / "data", (triplet(i, prompt="a cat") for i in range(4)))
    few = {"validation": {**SMALL["validation"], "samples": 3}}
    train(settings(tmp_path / "out", same, steps=1, **few), Overrides(flux=flux))
    assert "0 of validation.samples=3 samples are held out" in (said := capsys.readouterr().err)
    assert "Nothing is validated." in said


def test_gradients_are_the_same_with_and_without_checkpoints(flux, data, tmp_path: Path) -> None:
    found = []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        train(settings(out, data, steps=3, checkpointing=checkpointing), Overrides(flux=flux))
        found.append(curve(out))
        flux.transformer.disable_gradient_checkpointing()
    assert found[0] == found[1]


# The programs


@pytest.mark.parametrize("config", ["corrector-flux", "corrector-miniature"])
@pytest.mark.parametrize("latents", [None, Path("encoded")])
def test_every_configuration_has_an_estimate_and_a_dry_run(
    config: str, latents: Path | None
) -> None:
    chosen = CorrectorSettings(**{**read_config(CONFIGS / f"{config}.yaml"), "device": "cpu"})
    chosen = chosen.model_copy(update={"latents": latents})
    text = estimate(chosen)
    assert "trainable weights" in text and "TFLOP/s" in text and "e-" not in text
    if config == "corrector-flux":
        assert "11,901,408,320 weights" in text and "115,902,464 trainable" in text
        assert "8 processes)" in text and "8 x H100" in text
        assert ("VAE and T5" in text) == (latents is None)
    # What needs the run's own samples is left out of a dry run.
    own = {
        "siblings": 4,
        "leave_out": ["a key"],
        "drop": chosen.drop.model_copy(update={"prompt": 0.5}),
    }
    reported = ReportSettings(to=["wandb"], project="a project")
    assert "one step" in dry_run(chosen.model_copy(update={**own, "report": reported}))


def test_an_estimate_counts_the_weights_of_the_lora_that_a_run_starts_from() -> None:
    start = MINIATURE_WEIGHTS / "corrector"
    weights = sum(tensor.numel() for tensor in load_file(start / FILE_NAME).values())
    text = estimate(
        CorrectorSettings(model="miniature", data="shards", lora=Lora(rank=2, start=start))
    )
    assert f"{weights:,} trainable weights" in text


def test_an_estimate_refuses_what_does_not_fit_and_says_what_would() -> None:
    flux = {**read_config(CONFIGS / "corrector-flux.yaml"), "batch": 32, "gpu": {"count": 8}}
    with pytest.raises(InputError, match=r"needs 137 GB a GPU, and H100 has 75 GB") as refused:
        estimate(CorrectorSettings(**flux))
    assert "would with batch=8 accumulate=4 (62 GB)" in str(refused.value)
    way = {"batch": 8, "accumulate": 4, "gpu": {"count": 8, "tflops": 100}}
    text = estimate(CorrectorSettings(**{**flux, **way}))
    assert "Memory a GPU, estimated: 61.7 GB" in text and "8 x H100 at 100 TFLOP/s" in text
    with pytest.raises(InputError, match="GB a GPU, and H100 has 38 GB") as refused:
        estimate(CorrectorSettings(**{**flux, **way, "gpu": {"memory_gb": 40}}))
    assert "or gpu.memory_gb=66." in str(refused.value)  # a name would change nothing


def test_an_estimate_counts_the_time_of_encoding_first(tmp_path: Path) -> None:
    data = shards(tmp_path / "data", 6)
    way = {"data": str(data), "out": tmp_path, "batch": 8, "gpu": {"tflops": 1, "count": 2}}
    text = estimate(CorrectorSettings(**way, steps=10))
    operations = 1.31e6 * 4.65e6 + 4 * 512 * 9.45e9  # pixels and tokens of a sample
    assert f"encoding by VAE and T5 {duration(6 * operations / 2 / 1e12)}," in text


def test_an_estimate_tells_of_the_subsets_that_the_data_have(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write_shard(tmp_path / "one" / "rule.tar", 6, ["colors"], seed=0)
    way: dict[str, Any] = {"data": str(tmp_path / "one"), "out": tmp_path, "latents": None}
    text = estimate(CorrectorSettings(**way))
    assert "6 (6 rule); 0 left out" in text and "Seen over the run: 100.0% rule;" in text
    assert "6,000 of 8 samples (8 samples a batch, 1 batch a step, 1 process)" in text
    away = estimate(CorrectorSettings(latents=tmp_path / "none"))
    assert f"because there are no latents in {tmp_path / 'none'}" in away
    assert "if the data have every subset: 2" in away


def test_the_configuration_of_the_latents_fits_that_of_the_training() -> None:
    latents = LatentsSettings(**read_config(CONFIGS / "latents-flux.yaml"))
    training = CorrectorSettings(**read_config(CONFIGS / "corrector-flux.yaml"))
    names = LatentsSettings.model_fields.keys() - {"out", "shuffled", "alone", "gpu"}
    assert {n: getattr(latents, n) for n in names} == {n: getattr(training, n) for n in names}
    text = estimate_latents(latents)
    assert "9.04 MB a sample (2 texts, each 4096 wide)" in text
    assert "Memory a GPU, estimated: 9.9 GB" in text
    small = LatentsSettings(model="miniature", data="nowhere", dtype="fp32", text_length=40)
    assert "each 128 wide)" in (said := estimate_latents(small)) and "H100" not in said
    with pytest.raises(InputError, match="needs 10 GB a GPU, and H100 has 8 GB"):
        estimate_latents(latents.model_copy(update={"gpu": GpuSettings(memory_gb=8)}))


def program(*arguments: str, launcher: tuple[str, ...] = (), **environment: str):
    """The program as a user starts it."""
    module = ["-m", *launcher, "-m", "train.corrector"] if launcher else ["-m", "train.corrector"]
    return subprocess.Popen(
        [sys.executable, *module, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def options(out: Path, data: Path, *more: str) -> list[str]:
    config = ["--config", str(CONFIGS / "corrector-miniature.yaml"), "device=cpu"]
    small = ["validation.samples=2", "validation.pictures=1", "lora.rank=4", "batch=2"]
    return [*config, *small, f"out={out}", f"data={data}", *more]


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    data = write_triplets(tmp_path / "data", 16)
    more = ("steps=60", "save_every=3", "optimiser.decay=0")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert program(*options(whole, data, *more)).wait() == 0
    running = program(*options(cut, data, *more))
    log = cut / "log.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 20:
        assert running.poll() is None
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert len(curve(cut)) < 60
    assert program(*options(cut, data, *more)).wait() == 0
    assert curve(cut) == curve(whole)
    assert (cut / FILE_NAME).read_bytes() == (whole / FILE_NAME).read_bytes()
    assert not list(cut.rglob("*.tmp"))


TWO = ("torch.distributed.run", "--nproc-per-node", "2", "--standalone")


@pytest.mark.slow
@pytest.mark.parametrize("sharded", ["false", "true"])
def test_two_processes_make_the_steps_of_one(tmp_path: Path, sharded: str) -> None:
    data = write_triplets(tmp_path / "data", 16)
    one, two = tmp_path / "one", tmp_path / "two"
    more = ("steps=2", "save_every=2", "checkpointing=true")
    both = program(*options(two, data, *more), launcher=TWO, ACCELERATE_USE_FSDP=sharded)
    _, message = both.communicate(timeout=600)
    assert both.returncode == 0, message[-3000:]
    chosen = CorrectorSettings(
        **{**read_config(CONFIGS / "corrector-miniature.yaml"), "data": str(data)}
    )
    train(
        chosen.model_copy(
            update={
                "device": "cpu",
                "out": one,
                "steps": 2,
                "batch": 2,
                "accumulate": 2,
                "lora": chosen.lora.model_copy(update={"rank": 4}),
                "validation": chosen.validation.model_copy(update={"samples": 2, "pictures": 1}),
            }
        )
    )
    mine, theirs = load_file(one / FILE_NAME), load_file(two / FILE_NAME)
    assert max(tensor.abs().max() for key, tensor in mine.items() if "lora_B" in key) > 1e-5
    assert all(torch.allclose(mine[key], theirs[key], atol=1e-7) for key in mine)


@pytest.mark.slow
def test_shards_that_are_not_there_end_the_program_with_a_sentence(tmp_path: Path) -> None:
    done = program(*options(tmp_path / "out", tmp_path, "data=/nowhere"))
    _, said = done.communicate()
    assert done.returncode == 2
    assert "There are no shards in /nowhere" in said
    assert "Traceback" not in said
