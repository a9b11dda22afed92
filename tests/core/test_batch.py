"""Many prompts on the command line: a run in a folder each, one budget, one overview."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import ToyGenerator, Toys, ToyVerifier

import reflectionflow_core
from reflectionflow_core.archive import files, read_recording
from reflectionflow_core.cli import dry_run, main
from reflectionflow_core.record import InputError
from reflectionflow_core.search.checks import planned_pictures
from reflectionflow_core.settings import SearchSettings

ROOT = Path(reflectionflow_core.__file__).parents[1]
PROMPTS = ("a red cube", "two green bowls", "a blue door")
FOLDERS = ("001-a-red-cube", "002-two-green-bowls", "003-a-blue-door")
ADAPTIVE = ("--strategy", "adaptive", "--depth", "5")


def toys(choice, settings):
    return Toys(verifier=ToyVerifier(pass_at=0.9)).actors()


def run(*options: object, builder=toys) -> int:
    return main(["run", *map(str, options)], build_actors=builder)


def histories(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("*/history.jsonl")}


def pictures(folder: Path) -> int:
    return sum(data.count(b"\n") for data in histories(folder).values())


def report(folder: Path) -> str:
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join((PROMPTS[0], "", *PROMPTS, "")), "utf-8")
    return path


def test_each_prompt_gets_the_very_run_that_it_would_have_alone(tmp_path, prompts, capsys):
    out = tmp_path / "batch"
    assert run("--prompts", prompts, "--out", out, *ADAPTIVE) == 0
    assert set(histories(out)) == set(FOLDERS)
    for prompt, name in zip(PROMPTS, FOLDERS, strict=True):
        run(prompt, "--out", tmp_path / name, *ADAPTIVE)
        assert histories(out)[name] == (tmp_path / name / "history.jsonl").read_bytes()
        made = {path.name for path in (out / name).iterdir()}
        assert made == {path.name for path in (tmp_path / name).iterdir()}
    said = capsys.readouterr()
    assert "1 line repeats an earlier one; each prompt is painted once." in said.err
    assert re.search(r"\d of 3 prompts passed, after \d+ pictures", said.out)
    page = (out / "overview.html").read_text("utf-8")
    for prompt, name in zip(PROMPTS, FOLDERS, strict=True):
        assert prompt in page
        assert f'href="{name}/report.html"' in page
        assert f'src="{name}/best.png"' in page
    assert "http" not in page


def test_a_prompt_that_was_continued_alone_keeps_its_larger_depth(tmp_path, prompts, monkeypatch):
    monkeypatch.setattr(dry_run, "check_rules", lambda *_: None)  # the toys understand any prompt
    out = tmp_path / "batch"
    options = ("--strategy", "reflection", "--depth", "1")
    run("--prompts", prompts, "--out", out, *options)
    assert run("--out", out / FOLDERS[0], "--resume", "--depth", "2") == 0
    before = histories(out)
    assert run("--out", out, "--resume", "--dry-run") == 0
    assert run("--out", out, "--resume") == 0
    assert histories(out) == before
    assert run("--out", out, "--resume", "--depth", "3") == 0
    assert [len(data.splitlines()) for data in histories(out).values()] == [8, 8, 8]


def test_the_progress_counts_to_what_the_forecast_says(tmp_path, prompts, capsys):
    few = ("--strategy", "adaptive", "--depth", "2", "--width", "2")
    run("--prompts", prompts, "--out", tmp_path / "batch", *few)
    said = capsys.readouterr().err
    forecast = re.search(r"^At most (\d+) pictures", said, re.MULTILINE)
    assert forecast
    assert set(re.findall(r"^picture \d+ of (\d+):", said, re.MULTILINE)) == {forecast[1]}
    assert planned_pictures(SearchSettings(width=2, depth=3, strategy="scouts")) == 7


def test_every_prompt_has_a_record_and_the_shared_budget_is_one_of_its_own(
    tmp_path, prompts, capsys
):
    out = tmp_path / "batch"
    run("--prompts", prompts, "--out", out, *ADAPTIVE, "--max-images", 2, "--json")
    result = json.loads(capsys.readouterr().out)["result"]
    assert [record["prompt"] for record in result["prompts"]] == [*PROMPTS]
    assert [record["pictures"] for record in result["prompts"]] == [1, 1, 0]
    unpainted = result["prompts"][2]
    assert (unpainted["best"], unpainted["sheet"], unpainted["report"]) == (None, None, None)
    assert unpainted["spent"]["images"] == 0
    assert result["budget"]["images"] == result["spent"]["images"] == 2
    assert result["spent"]["steps"] == sum(r["spent"]["steps"] for r in result["prompts"])
    assert main(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == result


def test_the_budget_is_that_of_all_prompts_and_can_be_raised(tmp_path, prompts, capsys):
    out = tmp_path / "batch"
    run("--prompts", prompts, "--out", out, *ADAPTIVE, "--max-images", 2)
    assert set(histories(out)) == set(FOLDERS[:2])
    assert "nothing painted" not in (out / "overview.html").read_text("utf-8")
    ended = "the budget of all prompts is used up"
    assert all(ended in report(out / name) for name in FOLDERS[:2])
    run("--out", out, "--resume", "--max-images", 5)
    assert pictures(out) == 5
    assert run("--out", out, "--resume", "--max-images", 4) == 2
    assert "--max-images is 4" in capsys.readouterr().err
    run("--out", out, "--resume", "--max-images", "none")
    whole = tmp_path / "whole"
    run("--prompts", prompts, "--out", whole, *ADAPTIVE)
    assert histories(out) == histories(whole)
    assert not any(ended in report(out / name) for name in FOLDERS)
    assert read_recording(out / FOLDERS[0]).run.settings.budget.images is None  # type: ignore


def test_a_run_of_the_batch_goes_on_alone(tmp_path, prompts):
    out = tmp_path / "batch"
    run("--prompts", prompts, "--out", out, *ADAPTIVE, "--max-images", 3)
    assert run("--out", out / FOLDERS[1], "--resume") == 0
    assert run("--out", out, "--resume", "--max-images", "none") == 0


def test_an_overview_can_be_made_while_the_batch_is_under_way(tmp_path, prompts, capsys):
    out = tmp_path / "batch"
    run("--prompts", prompts, "--out", out, *ADAPTIVE, "--max-images", 2)
    lost = [out / "overview.html", *out.glob("*/sheet.png")]
    for file in lost:
        file.unlink()
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    assert (
        "003-a-blue-door: a blue door\n    0 pictures: nothing painted" in capsys.readouterr().out
    )
    assert len(lost) > 1 and all(file.exists() for file in lost)


def test_a_line_that_was_cut_off_is_told(tmp_path, prompts, capsys):
    out = tmp_path / "batch"
    run("--prompts", prompts, "--out", out, *ADAPTIVE, "--max-images", 3)
    with (out / FOLDERS[0] / "history.jsonl").open("ab") as lines:
        lines.write(b'{"index')
    capsys.readouterr()
    assert run("--out", out, "--resume", "--max-images", 4) == 0
    assert f"{FOLDERS[0]}: The last line of history.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--prompts", "gone.txt", "--out", "new"], "No such file or directory. Check the name."),
        (["--prompts", "batch", "--out", "new"], "Is a directory. Give a file, not a folder."),
        (["--prompts", "empty.txt", "--out", "new"], "has no prompts"),
        (["--prompts", "latin.txt", "--out", "new"], "is not UTF-8"),
        (["--prompts", "more.txt", "--out", "new", "--draft-prompt", "x"], "--draft-prompt is"),
        (["a cat", "--prompts", "more.txt", "--out", "new"], "A prompt is for a single run"),
        (["--prompts", "more.txt", "--out", "new", "--policy", "luck"], "no policy named 'luck'"),
        (["--prompts", "more.txt", "--out", "batch"], "already holds a batch"),
        (["--prompts", "more.txt", "--out", "batch", "--resume"], "a batch of other prompts"),
        (["--out", "batch", "--resume", "--seed", "9"], "seed 0, now 9"),
        (["--out", "batch"], "already holds a batch"),
        (["a cat", "--out", "batch"], "batch is for many prompts"),
        (["--prompts", "more.txt", "--out", "single"], "holds the run of one prompt"),
        (["--prompts", "more.txt", "--out", ""], "name of the folder is empty"),
    ],
)
def test_bad_requests_are_told_and_leave_nothing(
    tmp_path, prompts, capsys, monkeypatch, options, expected
):
    monkeypatch.chdir(tmp_path)
    run("--prompts", prompts, "--out", "batch", *ADAPTIVE)
    run("a red cube", "--out", "single", "--depth", "0")
    Path("empty.txt").write_text("\n \n")
    Path("latin.txt").write_bytes(b"caf\xe9\n")
    Path("more.txt").write_text("a cat\n")
    before = histories(Path("batch"))
    capsys.readouterr()
    assert run(*options) == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert re.fullmatch(r"reflectionflow: [^\n]+[.!?] [A-Z][^\n]+\.\n", said.err), said.err
    assert histories(Path("batch")) == before
    assert not Path("new").exists()


def test_a_prompt_that_cannot_be_judged_is_told_before_anything_is_painted(tmp_path, prompts):
    class Picky(ToyVerifier):
        def verify(self, prompt, images, progress=None):
            if prompt == PROMPTS[2]:
                raise InputError("No such door. Say another.")
            return super().verify(prompt, images)

    def builder(choice, settings):
        return Toys(verifier=Picky()).actors()

    assert run("--prompts", prompts, "--out", tmp_path / "new", builder=builder) == 2
    assert not (tmp_path / "new").exists()


def test_a_failure_says_how_to_go_on_and_loses_nothing(tmp_path, prompts, capsys):
    def failing(choice, settings):
        return Toys(ToyGenerator(script={2: OSError("no power")})).actors()

    out = tmp_path / "batch"
    with pytest.raises(OSError, match="no power"):
        run("--prompts", prompts, "--out", out, *ADAPTIVE, builder=failing)
    assert f"Continue with: reflectionflow run --out {out} --resume" in capsys.readouterr().err
    assert pictures(out) == 2
    assert run("--out", out, "--resume") == 0


PROGRAM = """
import sys, time
from fakes import ToyCorrector, ToyGenerator, Toys, ToyVerifier
from reflectionflow_core.cli import main

def slow(choice, settings):
    def nap():
        time.sleep(0.02)
    painters = {"generator": ToyGenerator(on_call=nap), "corrector": ToyCorrector(on_call=nap)}
    return Toys(verifier=ToyVerifier(pass_at=0.95), **painters).actors()

sys.exit(main(build_actors=slow))
"""


def start(script: Path, prompts: Path, out: Path) -> subprocess.Popen:
    script.write_text(PROGRAM)
    options = ["--prompts", prompts, "--out", out, "--strategy", "adaptive", "--depth", "8"]
    options += ["--batch-size", "2", "--max-images", "30", "--resume"]
    return subprocess.Popen(
        [sys.executable, str(script), "run", *map(str, options)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_killed_again_and_again_it_ends_as_if_it_never_was(tmp_path, prompts):
    script, out, whole = tmp_path / "program.py", tmp_path / "killed", tmp_path / "whole"
    assert start(script, prompts, whole).wait(60) == 0
    assert pictures(whole) == 30
    for kill in range(1, 5):
        process = start(script, prompts, out)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None and pictures(out) < 6 * kill:
            time.sleep(0.002)
        time.sleep(0.007 * kill)
        process.kill()
        process.wait()
    assert pictures(out) < 30
    assert start(script, prompts, out).wait(60) == 0
    assert histories(out) == histories(whole)
