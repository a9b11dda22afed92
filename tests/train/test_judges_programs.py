"""`train.verifier` and `train.writer` as programs: `pytest tests/train/test_judges_programs.py`."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from train_judges import run_configured as run

from reflectionflow_core.record import InputError
from train.miniature.shards import write_shard
from train.qwen.whole import explained, whole

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "train" / "configs"
PROGRAMS = ("verifier", "writer")
NAMES = sorted(
    file.stem for file in CONFIGS.glob("*.yaml") if file.stem.partition("-")[0] in PROGRAMS
)


def test_there_are_configurations_for_the_full_size_models_and_tiny_ones() -> None:
    assert {"verifier-qwen", "verifier-tiny", "writer-qwen", "writer-tiny"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", ["--estimate", "--plan"])
def test_every_configuration_has_an_estimate_and_nothing_is_written(
    name, option, capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(name, option)
    output = capsys.readouterr().out
    for row in ("weights", "memory", "samples", "steps", "time"):
        assert row in output
    assert "e-" not in output  # a time for people
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", ["verifier-tiny", "writer-tiny"])
def test_a_missing_gpu_is_refused(name, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(name, "device=cuda")
    assert ended.value.code == 2
    assert "There is no CUDA device. Remove device=cuda" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_in_a_sentence(capsys, monkeypatch) -> None:
    def interrupted(settings: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.verifier.training.run", interrupted)
    with pytest.raises(SystemExit) as ended:
        run("verifier-tiny")
    assert ended.value.code == 130
    assert (
        capsys.readouterr().err == "Stopped. Start it again with the same settings to resume it.\n"
    )


def test_estimates_count_the_weights_of_the_published_models(capsys) -> None:
    run("writer-qwen", "--estimate")
    assert "8,292,166,656 weights\ntrained      8,292,166,656" in capsys.readouterr().out
    run("verifier-qwen", "--estimate", "language=frozen", "vision=frozen")
    own = 2 * 2048  # its token and its head, which are not the base's
    assert f"3,754,622,976 weights\ntrained      {own:,}" in capsys.readouterr().out


def test_a_writer_that_does_not_fit_is_refused_with_what_would(capsys) -> None:
    run("writer-qwen", "--estimate")
    assert "sharded over 8 GPUs" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        run("writer-qwen", "--estimate", "gpu.count=1", "gpu.sharded=false", "batch=8")
    said = capsys.readouterr().err
    assert "it needs 136 GB a GPU, and H100 has 75 GB" in said
    assert "gpu.sharded=true gpu.count=8 (26 GB), or tuning=lora (22 GB)" in said
    run("writer-qwen", "--estimate", "gpu.count=1", "tuning=lora")  # one GPU shards nothing
    said = capsys.readouterr().out
    assert "8,292,166,656 weights" in said and "sharded" not in said
    with pytest.raises(SystemExit, match="2"):
        run("writer-qwen", "--estimate", "tuning=lora")
    assert (
        "The base model of a LoRA cannot be sharded. Give gpu.sharded=false"
        in capsys.readouterr().err
    )


def test_an_estimate_counts_the_samples_that_are_there(capsys, tmp_path) -> None:
    write_shard(tmp_path / "some.tar", 30, ["colors"], seed=0)
    run("verifier-qwen", "--estimate", f"data={tmp_path}", "held_out_share=0.5", "held_out_most=3")
    assert ", and 3 held out" in capsys.readouterr().out
    given = (f"data={tmp_path}", f"held_out={tmp_path}", "held_out_most=4")
    run("verifier-tiny", "--estimate", *given)
    assert "30, and 4 held out" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["verifier-tiny", "writer-tiny"])
def test_an_estimate_fetches_nothing(name: str, capsys, tmp_path) -> None:
    run(name, "--estimate", f"data=pipe:touch {shlex.quote(str(tmp_path))}/fetched")
    assert "is not on this machine yet" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_files_are_synced_as_windows_needs_it(tmp_path, monkeypatch) -> None:
    modes: list[int] = []
    monkeypatch.setattr("os.fsync", lambda file: modes.append(fcntl.fcntl(file, fcntl.F_GETFL)))
    with whole(tmp_path / "model") as part:
        (part / "weights").write_bytes(b"1")
    assert [mode & os.O_ACCMODE for mode in modes] == [os.O_RDWR]


@pytest.mark.parametrize(
    "said",
    [
        "basic_ios::clear: iostream error",
        "[enforce fail at inline_container.cc:672] . unexpected pos 128 vs 22",
    ],
)
def test_an_optimiser_that_does_not_fit_on_the_disk_is_a_sentence(said, tmp_path) -> None:
    full = pytest.raises(InputError, match="the disk is probably full")
    with full, explained(tmp_path / "checkpoint-3"):
        raise RuntimeError(said)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-qwen")])
def test_every_full_size_configuration_passes_a_dry_run(
    name, capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(name, "--dry-run")  # device=auto, as it stands there
    assert "made-up data: trained, saved" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_takes_the_data_that_are_there(capsys, tmp_path) -> None:
    write_shard(tmp_path / "some.tar", 24, ["colors"], seed=0)
    run(
        "writer-qwen", "--dry-run", "device=cpu", f"data={tmp_path}", "held_out_share=0.5",
        "tuning=lora", "answers=0",
    )  # fmt: skip
    assert "the data: trained, saved" in capsys.readouterr().out


def test_a_start_that_was_refused_may_be_typed_with_other_settings(
    capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for setting, message in (
        ("base=runs/nomodel", "There is no folder runs/nomodel. Check the path"),
        ("data=nowhere.jsonl", "nowhere.jsonl cannot be read"),
        ("base=nowhere", "There is no folder nowhere"),
        ("data=nowhere.jsonl", "nowhere.jsonl cannot be read"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run("writer-tiny", "out=runs/x", "held_out_most=2", setting)
        assert message in capsys.readouterr().err
        assert not (tmp_path / "runs" / "x").exists()


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stepz=3", "no setting stepz. The nearest is steps"),
        ("rate=-1", "rate=-1 does not fit"),
        ("base=somewhere/else", "size of somewhere/else is unknown"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(name, setting, message, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(f"{name}-qwen", "--estimate", setting)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("base=nowhere", "There is no folder nowhere"),
        ("data=nowhere", "There are no shards in nowhere"),
        ("data=nowhere.jsonl", "nowhere.jsonl cannot be read"),
        ("template=Is it?", r"The template has {text_prompt} 0 times"),
        ('families=["dogs"]', "no family of prompts named 'dogs'"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_training(
    setting, message, capsys, tmp_path
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("verifier-tiny", f"out={tmp_path / 'run'}", "held_out_most=4", setting)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "settings"),
    [
        ("train.writer", ("gain.pictures", "lora_rank", "held_out_share", "tuning")),
        ("train.miniature", ("vae_steps = 4000", "pairs = 20000", "measured = 6000")),
    ],
)
def test_help_lists_every_setting(program: str, settings: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", program, "--help"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for setting in settings:
        assert setting in output
