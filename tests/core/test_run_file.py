"""run.json keeps its form: runs of before resume, and what is new is written only where it is asked
for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import Toys, ToyVerifier

from reflectionflow_core.archive import files
from reflectionflow_core.choice import LATER, RECORDED, ActorChoice
from reflectionflow_core.cli import main
from reflectionflow_core.flux.settings import ConditionSettings, SamplingSettings
from reflectionflow_core.miniature.model import FOLDER, LORA
from reflectionflow_core.registry import build_actors, choice_of
from reflectionflow_core.settings import SearchSettings

LORA_FILE = LORA / "pytorch_lora_weights.safetensors"
# As version 0.1.0 writes it for the options below, without the digests and the versions.
BEFORE = {
    "format": 1,
    "prompt": "a red circle",
    "settings": {
        "width": 1,
        "depth": 1,
        "drafts": None,
        "seed": 0,
        "strategy": "reflection",
        "axes": ["noise", "prompt", "reflection"],
        "parents": "latest",
        "stop": "never",
        "noise_search": "random",
        "radius": 0.3,
        "batch_size": 1,
        "budget": {"images": None, "vlm_calls": None, "seconds": None, "steps": None},
        "draft_prompt": None,
        "policy": "progress",
        "recheck": False,
        "stages": [],
        "context": 3,
    },
    "actors": {
        "model": str(FOLDER),
        "transformer": None,
        "lora": str(LORA_FILE),
        "size": [64, 64],
        "steps": 8,
        "guidance": None,
        "dtype": None,
        "device": None,
        "plan": "resident",
        "condition_size": None,
        "condition_fit": "fit",
        "verifier": "exact",
        "verifier_error": None,
        "writer": "template",
        "evolver": "rules",
        "planner": None,
        "inspector": None,
        "thinker": None,
        "vlm": None,
        "max_words": None,
        "gate": None,
        "reward_base": None,
        "reward_template": None,
        "vlm_dtype": None,
    },
    "think_first": False,
    "calls": 0,
}
OPTIONS = [
    *(
        "--strategy",
        "reflection",
        "--width",
        1,
        "--depth",
        1,
        "--steps",
        8,
        "--size",
        "64x64",
        "--condition-fit",
        "fit",
    ),
    *("--model", FOLDER, "--lora", LORA_FILE, "--plan", "resident"),
]


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)


def run(*options: object, choices: list[ActorChoice] | None = None) -> int:
    def toys(choice: ActorChoice, _: SearchSettings) -> Any:
        [] if choices is None else choices.append(choice)
        return Toys(verifier=ToyVerifier(pass_at=0.9)).actors()

    return main(["run", *map(str, options)], build_actors=toys)


def recorded(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_a_run_of_before_is_written_the_same_and_resumes(tmp_path: Path) -> None:
    assert run("a red circle", "--out", tmp_path, *OPTIONS) == 0
    now = recorded(tmp_path)
    settings = {**now["settings"], **BEFORE["settings"]}  # new ones have their defaults
    assert {**now, **BEFORE, "settings": settings} == now
    assert list(now["actors"].keys() ^ RECORDED.keys()) == []
    known = {name: now[name] for name in ("identity", "versions")}
    (tmp_path / "run.json").write_text(json.dumps({**BEFORE, **known}))
    choices: list[ActorChoice] = []
    assert run("--out", tmp_path, "--resume", "--depth", 2, choices=choices) == 0
    assert choices[0].sampling == SamplingSettings(64, 64, steps=8)
    assert choices[0].condition == ConditionSettings(fit="fit")
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 3
    assert run("--out", tmp_path, "--resume", "--steps", 9) == 2


@pytest.mark.parametrize("name", [*RECORDED, *LATER])
def test_an_actor_of_another_type_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run("a red circle", "--out", tmp_path, "--depth", 0) == 0
    whole = recorded(tmp_path)
    for wrong in (True if name != "ground" else 1, [[]], {"a": 1}):
        actors = {**whole["actors"], name: wrong}
        (tmp_path / "run.json").write_text(json.dumps({**whole, "actors": actors}))
        capsys.readouterr()
        assert run("--out", tmp_path, "--resume") == 2
        assert f"run.json cannot be read ({name} is" in capsys.readouterr().err


def test_another_ocr_is_told_and_a_run_that_knew_none_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reads(version: str) -> None:
        module = sys.modules["reflectionflow_core.cli.run"]
        monkeypatch.setattr(module, "identity", lambda _: {"model": "m", "ocr": version})

    reads("rapidocr 3.10.0 ab")
    assert run("a circle", "--out", tmp_path, "--depth", 0) == 0
    reads("rapidocr 4.0.0 ab")
    assert run("--out", tmp_path, "--resume") == 2
    told = "another ocr (rapidocr 3.10.0 ab, now rapidocr 4.0.0 ab)"
    assert told in capsys.readouterr().err
    record = recorded(tmp_path)
    del record["identity"]["ocr"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run("--out", tmp_path, "--resume") == 0


def test_where_weights_wait_has_a_new_name_and_keeps_the_old_one(tmp_path: Path) -> None:
    for name in ("--offload", "--plan"):
        asked = ("--depth", 0, "--model", FOLDER, name, "streamed")
        assert run("a circle", "--out", tmp_path / name, *asked) == 0
        assert recorded(tmp_path / name)["actors"]["plan"] == "streamed"
    assert run("--out", tmp_path / "--plan", "--resume", "--offload", "resident") == 0


def test_the_prompt_style_reaches_the_corrector_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("a cube", "--depth", 1, "--out")
    assert run(*options, tmp_path / "plain", "--prompt-style", "training") == 0
    assert "prompt_style" not in recorded(tmp_path / "plain")["actors"]
    assert run(*options, tmp_path / "upstream", "--prompt-style", "upstream") == 0
    record = recorded(tmp_path / "upstream")["actors"]
    assert record["prompt_style"] == "upstream"
    choices: list[ActorChoice] = []
    assert run("--out", tmp_path / "upstream", "--resume", choices=choices) == 0
    corrector: Any = build_actors(choices[0], SearchSettings()).corrector
    assert corrector.condition.prompt_style == "upstream"
    assert run("--out", tmp_path / "plain", "--resume", "--prompt-style", "upstream") == 2
    assert "prompt style None, now 'upstream'" in capsys.readouterr().err
    assert run(*options, tmp_path / "loud", "--prompt-style", "loud") == 2
    assert "no prompt style named 'loud'. Choose one of: training, upstream" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("record", "sampling", "condition"),
    [
        ({"model": "miniature", "steps": 3}, (64, 64, 3, 3.5, 40), (64, "squash", "training")),
        (
            {"model": str(FOLDER), "size": [32, 48], "guidance": 2.0, "condition_size": 64},
            (32, 48, 30, 2.0, 512),
            (64, "squash", "training"),
        ),
    ],
)
def test_a_choice_holds_the_models_own_settings_with_what_was_said(
    record: dict[str, Any], sampling: tuple[Any, ...], condition: tuple[Any, ...]
) -> None:
    choice = choice_of(record)
    assert choice.sampling == SamplingSettings(*sampling)
    assert choice.condition == ConditionSettings(*condition)


@pytest.mark.parametrize(
    "option",
    [
        *(("--size", "32x32"), ("--condition-size", 128), ("--condition-fit", "fit")),
        *(("--dtype", "bf16"), ("--offload", "resident")),
    ],
)
def test_the_miniature_refuses_what_it_cannot_do(
    option: tuple[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", "a red circle", "--out", tmp_path / "new", *option]
    assert main(list(map(str, asked))) == 2
    said = capsys.readouterr().err
    assert str(option[0]) in said and "he miniature does not take" in said
