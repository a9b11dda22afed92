"""Seeds from 0 to 2^64 - 1 everywhere, and one rule for -1: drawn once, recorded, replayed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import Toys, ToyVerifier
from pydantic import ValidationError

from reflectionflow_core.archive import files
from reflectionflow_core.archive.run_file import Run, load_run
from reflectionflow_core.cli import main
from reflectionflow_core.cli import painting as painting_command
from reflectionflow_core.flux.noise import starting_noise
from reflectionflow_core.record import InputError
from reflectionflow_core.search import fresh_seed, search
from reflectionflow_core.settings import MAX_SEED, SearchSettings, chosen_seed
from train.miniature.settings import MiniatureSettings

SMALL = ("--width", 1, "--depth", 1)
LARGE = (2**32, 2**53 + 1, MAX_SEED)


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda _: None)


def run(*options: object) -> int:
    def toys(choice, settings):
        return Toys(verifier=ToyVerifier(pass_at=0.9)).actors()

    return main(["run", *map(str, options)], build_actors=toys)


def history(folder: Path) -> bytes:
    return (folder / "history.jsonl").read_bytes()


def seed_in(folder: Path) -> int:
    return load_run(folder / "run.json").settings.seed


def pixels(seed: int) -> list[bytes]:
    *_, found = search("a red cube", SearchSettings(width=2, depth=0, seed=seed), Toys().actors())
    return [candidate.image.tobytes() for candidate in found]


def test_a_search_takes_every_seed_and_each_gives_other_pictures() -> None:
    seen = [tuple(pixels(seed)) for seed in (0, 2**32 - 1, *LARGE)]
    assert len(set(seen)) == len(seen)


def test_seeds_below_2_to_the_32_give_the_noises_that_they_gave_before() -> None:
    assert [fresh_seed(seed, 1, 2) for seed in (0, 5, 2**32 - 1)] == [
        1403730244,
        3433143480,
        1992139825,
    ]


def test_noise_is_drawn_from_every_seed_as_torch_draws_it() -> None:
    for seed in LARGE:
        stock = torch.randn((4, 2, 2), generator=torch.Generator("cpu").manual_seed(seed))
        assert torch.equal(starting_noise([seed], (4, 2, 2), torch.float32)[0], stock)


@pytest.mark.parametrize("seed", [-2, 2**64, 1.5, "7", None, True])
def test_anything_else_is_refused_in_a_sentence(seed: Any) -> None:
    for take in (chosen_seed, lambda seed: SearchSettings(seed=seed)):
        with pytest.raises(InputError, match=r"^The seed is .* Give a whole number from 0 to"):
            take(seed)


def test_a_random_seed_is_another_one_each_time_and_below_2_to_the_32() -> None:
    drawn = {SearchSettings(seed=-1).seed for _ in range(20)}
    assert len(drawn) > 15 and all(0 <= seed < 2**32 for seed in drawn)


@pytest.mark.parametrize("seed", LARGE)
def test_the_command_line_takes_and_keeps_every_seed(tmp_path: Path, seed: int) -> None:
    assert run("a red cube", "--out", tmp_path, *SMALL, "--seed", seed) == 0
    assert seed_in(tmp_path) == seed
    assert run("--out", tmp_path, "--resume", "--depth", 2) == 0


@pytest.mark.parametrize(
    "command",
    [
        ("run", "a red circle", "--out", "new"),
        ("evaluate", "shapes", "--prompts", "2", "--out", "new.json"),
        ("judge", "--vlm", "mine", "--questions", "40"),
    ],
    ids=lambda command: command[0],
)
def test_a_dry_run_says_that_its_random_seed_is_not_kept(
    command: tuple[str, ...], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFLECTIONFLOW_MINE_API_KEY", "key")
    monkeypatch.setenv("REFLECTIONFLOW_MINE_BASE_URL", "http://localhost:1/v1")
    assert main([*command, "--seed", "-1", "--dry-run"]) == 0
    assert "the run itself draws another" in capsys.readouterr().err


def test_a_random_seed_of_a_run_is_recorded_and_replayed(tmp_path: Path, capsys) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    assert run("a red cube", "--out", first, *SMALL, "--seed", -1) == 0
    seed = seed_in(first)
    assert f"The seed is {seed}, drawn at random." in capsys.readouterr().err
    assert run("a red cube", "--out", again, *SMALL, "--seed", seed) == 0
    assert history(again) == history(first)
    assert run("--out", first, "--resume", "--seed", -1, "--depth", 2) == 0
    assert f"The run's own seed {seed} is used." in capsys.readouterr().err
    assert run("--out", again, "--resume", "--depth", 2) == 0
    assert history(again) == history(first)


def test_a_random_seed_of_many_prompts_is_recorded_and_replayed(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red cube\na blue cube\n")
    out = tmp_path / "out"
    assert run("--prompts", prompts, "--out", out, *SMALL, "--seed", -1) == 0
    seed = load_run(out / "batch.json").settings.seed
    assert {seed_in(folder.parent) for folder in out.glob("*/run.json")} == {seed}
    assert run("--prompts", prompts, "--out", out, "--resume", "--seed", -1) == 0


def test_a_recorded_run_with_no_seed_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    record = json.loads(Run("a red cube", SearchSettings()).dump())
    record["settings"]["seed"] = -1
    file.write_text(json.dumps(record))
    with pytest.raises(InputError, match="its seed is -1"):
        load_run(file)


def test_a_random_seed_of_an_evaluation_is_recorded_and_replayed(tmp_path, monkeypatch) -> None:
    from reflectionflow_core.cli import evaluate as command

    seen: list[int] = []

    def stopped(evaluation, file, build, pool):
        evaluation.journal(file).lines(dict)
        seen.append(evaluation.seed)
        raise InputError("Stopped.")
        yield

    monkeypatch.setattr(command, "evaluate", stopped)
    file = tmp_path / "out.json"
    options = ["evaluate", "shapes", "--quick", "--json", str(file), "--seed"]
    for seed in ("-1", "-1", str(MAX_SEED)):
        assert main([*options, seed]) == 2
    assert seen[0] == seen[1] and seen[2] == MAX_SEED


def test_a_random_seed_of_painted_benchmarks_is_recorded_and_replayed(
    tmp_path: Path, monkeypatch
) -> None:
    seen: list[int] = []

    def stopped(painting, build, pool):
        painting.journal.lines(dict)
        seen.append(painting.settings.seed)
        raise InputError("Stopped.")
        yield

    monkeypatch.setattr(painting_command, "paint", stopped)
    prompts = tmp_path / "prompts.jsonl"
    include = [{"class": "bench", "count": 1}]
    line = {"tag": "single_object", "include": include, "prompt": "a photo of a bench"}
    prompts.write_text(json.dumps(line))
    asked = ("evaluate", "geneval", "--generate", "--prompts", prompts, "--images", tmp_path / "i")
    asked += ("--detector", "x", "--json", tmp_path / "out.json", "--seed", -1)
    for _ in range(2):
        assert main(list(map(str, asked))) == 2
    assert len(seen) == 2 and seen[0] == seen[1]


@pytest.mark.parametrize("seed", ["-2", str(2**64), "1.5", "1_0", "x"])
def test_the_command_line_refuses_other_seeds(tmp_path: Path, capsys, seed: str) -> None:
    assert run("a red cube", "--out", tmp_path / "out", f"--seed={seed}") == 2
    said = capsys.readouterr().err
    assert re.search(r"seed", said) and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_trainings_take_every_seed_but_a_random_one() -> None:
    assert MiniatureSettings(out=Path("x"), seed=MAX_SEED).seed == MAX_SEED
    for seed in (-1, 2**64):
        with pytest.raises(ValidationError, match="seed"):
            MiniatureSettings(out=Path("x"), seed=seed)
