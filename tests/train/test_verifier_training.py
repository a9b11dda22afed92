"""Training a reward verifier, tiny: `pytest tests/train/test_verifier_training.py`."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from train_judges import RUN, At, cut, kill, killed_in, losses

from reflectionflow_core.archive.files import locked
from reflectionflow_core.record import InputError
from reflectionflow_core.verifiers.reward import load_base, load_reward
from reflectionflow_core.verifiers.reward_folder import TRAINED
from reflectionflow_core.verifiers.reward_forward import encode_rows
from reflectionflow_core.verifiers.reward_template import TOKEN
from train.journal import records
from train.miniature.shards import write_shard
from train.qwen import whole
from train.qwen.guarded import Guarded, checkpoints, latest, measured, train_on
from train.qwen.run import qwen_run
from train.qwen.tiny import Sizes, save_tiny
from train.skipped import Skipped
from train.triplets import Triplets
from train.verifier import trainer as trainer_module
from train.verifier.model import RewardModel, save_reward
from train.verifier.settings import VerifierSettings
from train.verifier.training import setup, train


def settings_in(out: Path, **given: Any) -> VerifierSettings:
    return VerifierSettings.model_validate({**RUN, "out": out, **given})


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint / TRAINED, weights_only=True)


def run_with(settings: VerifierSettings, callback: At) -> None:
    with qwen_run(settings):
        trainer = setup(settings)
        trainer.add_callback(callback)
        train_on(trainer)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    settings = settings_in(tmp_path_factory.mktemp("whole") / "run")
    train(settings)
    return settings.out


@pytest.mark.parametrize("language", ["lora", "full", "frozen"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_saved_verifier_scores_as_the_trained_model(tmp_path, language, precision) -> None:
    base = save_tiny(tmp_path / "base", ["a red circle"], Sizes(patch=14))
    settings = settings_in(tmp_path / "run", language=language)
    backbone, processor, _ = load_base(base, precision, torch.device("cpu"))
    model = RewardModel(backbone, processor.tokenizer.convert_tokens_to_ids(TOKEN), settings)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    write_shard(tmp_path / "some.tar", 3, ["colors"], seed=1)
    pictures = [triplet.bad for triplet in Triplets([tmp_path / "some.tar"])]
    rows = encode_rows(processor, settings.template, ["a red circle"] * 3, pictures, 4096)
    with torch.no_grad():
        expected = model.eval().float()(rows).tolist()
    (tmp_path / "saved").mkdir()
    save_reward(model, processor, settings, tmp_path / "saved")
    loaded = load_reward(tmp_path / "saved", base, dtype="fp32", device="cpu")
    tolerance = 1e-5 if precision == "fp32" else 2e-2  # the token's row is saved in bf16
    assert loaded.scores("a red circle", pictures) == pytest.approx(expected, abs=tolerance)
    assert len(set(expected)) == 3
    assert loaded.template == settings.template


def test_a_run_leaves_a_verifier_that_loads_its_figures_and_its_card(whole_run) -> None:
    verifier = load_reward(whole_run / "model", whole_run / "base", dtype="fp32", device="cpu")
    found = Triplets([whole_run / "data" / "held_out.tar"])[0]
    from_run = load_reward(whole_run, whole_run / "base", dtype="fp32", device="cpu")
    scores = verifier.scores(found.prompt, [found.good, found.bad])
    assert scores == pytest.approx(from_run.scores(found.prompt, [found.good, found.bad]))
    found = measured(whole_run)
    assert [entry["step"] for entry in found] == [0, 3, 6]
    card = (whole_run / "model" / "README.md").read_text()
    assert f"{found[-1]['accuracy']['mean']:.3f}" in card
    assert str(whole_run.parent) not in card  # a path of this machine
    assert not list(whole_run.glob(".part*"))


def test_an_interrupted_run_resumes_bit_for_bit(whole_run, tmp_path) -> None:
    settings = settings_in(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        run_with(settings, At(5, cut))
    assert [folder.name for folder in checkpoints(settings.out)] == ["checkpoint-3"]
    train(settings)
    expected = losses(whole_run / "checkpoint-6")
    assert len(expected) == 6 == len(set(expected))
    assert losses(settings.out / "checkpoint-6") == expected
    ours, theirs = weights(settings.out / "checkpoint-6"), weights(whole_run / "checkpoint-6")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert measured(settings.out) == measured(whole_run)


def test_accumulated_batches_are_one_large_batch(tmp_path) -> None:
    given = {"language": "full", "steps": 3}
    train(settings_in(tmp_path / "one", **given))
    train(settings_in(tmp_path / "two", batch=1, accumulate=2, **given))
    expected = losses(tmp_path / "one" / "checkpoint-3")
    assert losses(tmp_path / "two" / "checkpoint-3") == pytest.approx(expected, abs=1e-4)


KILLS = {
    "while writing weights": (trainer_module, "save_reward"),
    "between taking an old name and giving it": (whole.Path, "replace"),
}


@pytest.mark.parametrize("moment", KILLS)
def test_a_killed_run_resumes_from_a_whole_checkpoint(moment, whole_run, tmp_path) -> None:
    settings = settings_in(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        run_with(settings, At(4, cut))

    def work() -> None:
        place, name = KILLS[moment]
        setattr(place, name, kill)
        train(settings)

    assert killed_in(work)
    assert latest(settings.out) == settings.out / "checkpoint-3"
    train(settings)
    ours, theirs = weights(settings.out / "checkpoint-6"), weights(whole_run / "checkpoint-6")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_measurement_that_is_repeated_is_logged_once(tmp_path) -> None:
    settings = settings_in(tmp_path)
    trainer: Any = SimpleNamespace(remove_callback=id, add_callback=id)
    for steps, kept in ((), []), ((1,), [0, 1]):
        (tmp_path / "log.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n')
        for step in steps:
            (tmp_path / f"checkpoint-{step}").mkdir()
        Guarded.guard(trainer, settings, Skipped())
        assert [record["step"] for record in records(tmp_path / "log.jsonl")] == kept


def spoil_weights(model: Any) -> None:
    with torch.no_grad():
        model.rm_head.weight.fill_(torch.nan)


def spoil_gradients(model: Any) -> None:
    model.rm_head.weight.register_hook(lambda gradient: gradient * torch.inf)


@pytest.mark.parametrize(
    ("spoil", "what"), [(spoil_weights, "loss is nan"), (spoil_gradients, "gradient is not finite")]
)
def test_a_value_that_is_not_finite_stops_the_run_with_step_and_samples(
    spoil, what, tmp_path
) -> None:
    settings = settings_in(tmp_path / "run")
    message = rf"{what} at step 5, in the samples 0000\d\d, 0000\d\d\. .*checkpoint-3 is the last"
    with pytest.raises(InputError, match=message):
        run_with(settings, At(5, spoil))
    assert all(
        tensor.isfinite().all() for tensor in weights(settings.out / "checkpoint-3").values()
    )
    train(settings)
    assert latest(settings.out) == settings.out / "checkpoint-6"


def test_weights_that_are_not_finite_are_never_saved(tmp_path) -> None:
    settings = settings_in(tmp_path / "run", save_every=1, keep=10)

    def fill(weight: torch.Tensor) -> None:
        weight.data.fill_(torch.inf)

    def overflow(model: Any) -> None:
        model.rm_head.weight.register_post_accumulate_grad_hook(fill)

    with pytest.raises(
        InputError, match=r"A weight is not finite after step 3, in the samples 0000\d\d, 0"
    ):
        run_with(settings, At(3, overflow))
    assert [folder.name for folder in checkpoints(settings.out)] == ["checkpoint-1", "checkpoint-2"]


def test_a_full_disk_is_reported_and_the_run_resumes_later(tmp_path) -> None:
    settings = settings_in(tmp_path / "run")

    def fill(_: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(InputError, match=r"Cannot write .*checkpoint-6: .*start|resume"):
            run_with(settings, At(5, fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [folder.name for folder in checkpoints(settings.out)] == ["checkpoint-3"]
    train(settings)
    assert latest(settings.out) == settings.out / "checkpoint-6"


def test_a_finished_run_trains_no_more_and_its_verifier_can_be_made_again(tmp_path) -> None:
    settings = settings_in(tmp_path / "run", steps=3)
    train(settings)
    file, expected = settings.out / "model" / TRAINED, weights(settings.out / "checkpoint-3")
    file.unlink()
    train(settings)
    assert [folder.name for folder in checkpoints(settings.out)] == ["checkpoint-3"]
    assert all(torch.equal(weights(file.parent)[name], expected[name]) for name in expected)


def test_a_resumed_run_obeys_its_new_settings_and_keeps_the_last_checkpoints(
    whole_run, tmp_path
) -> None:
    copytree(whole_run, tmp_path / "run")
    given = {"rate": 1e-6, "save_every": 1, "eval_every": 2}
    train(settings_in(tmp_path / "run", steps=9, **given))
    assert [p.name for p in checkpoints(tmp_path / "run")] == ["checkpoint-8", "checkpoint-9"]
    assert [found["step"] for found in measured(tmp_path / "run")] == [0, 3, 6, 8, 9]
    logged = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    rates = [line["learning_rate"] for line in logged if "learning_rate" in line]
    falling = [1e-6 * (1 + math.cos(math.pi * done / 8)) / 2 for done in (5, 6, 7)]
    assert rates[6:] == pytest.approx(falling)


def test_two_runs_into_one_folder_are_refused(whole_run, tmp_path) -> None:
    with locked(whole_run), pytest.raises(InputError, match="Another process is writing"):
        train(settings_in(whole_run))
    with pytest.raises(InputError, match=r"started with seed=0 \(now 1\)\. Give the same"):
        train(settings_in(whole_run, seed=1))


def test_samples_that_cannot_be_read_are_left_out_and_counted(tmp_path) -> None:
    write_shard(tmp_path / "good.tar", 20, ["colors"], seed=0)
    data = bytearray((tmp_path / "good.tar").read_bytes())
    (tmp_path / "cut.tar").write_bytes(data[: len(data) // 2 + 700])
    start = data.index(b"\x89PNG")
    data[start : start + 300] = bytes(300)
    (tmp_path / "good.tar").write_bytes(data)
    settings = settings_in(
        tmp_path / "run", data=str(tmp_path / "*.tar"), held_out_share=0.3, steps=12
    )
    card = (train(settings) / "README.md").read_text()
    assert "picture unreadable (1)" in card  # one sample, however often it was read
    assert "shard truncated (1)" in card


def test_ties_are_learnt_from_rows_that_say_so_and_refused_where_none_can_be(tmp_path) -> None:
    write_shard(tmp_path / "some.tar", 24, ["colors"], seed=0)
    rows = []
    for index, triplet in enumerate(Triplets([tmp_path / "some.tar"])):
        names = [f"{index}-{side}.png" for side in "ab"]
        for name, picture in zip(names, (triplet.good, triplet.bad), strict=True):
            picture.save(tmp_path / name)
        label = ("first", "tie")[index % 2]
        found = {"image1": names[0], "image2": names[label == "first"], "prompt": "x" * 10_000}
        rows.append({**found, "prompt": f"{index} {found['prompt']}", "label": label})
    rows[0] |= {"image1": "nowhere.png"}
    file = tmp_path / "verifier.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = {"data": str(file), "held_out_share": 0.4, "steps": 2}
    with pytest.raises(InputError, match=r"12 pairs of .* tie.*Give ties=1"):
        train(settings_in(tmp_path / "run", **given))
    train(settings_in(tmp_path / "other", ties=1.0, **given))
    assert measured(tmp_path / "other")[-1]["ties"] > 0
