"""Plans and thoughts of a batch: one a prompt, written just before its first picture, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes import ToyGenerator, Toys, ToyVerifier

import reflectionflow_core
from reflectionflow_core import registry
from reflectionflow_core.archive import files, read_recording
from reflectionflow_core.archive.run_file import Run
from reflectionflow_core.cli import main
from reflectionflow_core.planners.text import as_text
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import ScenePlan, Stage
from reflectionflow_core.registry import build_actors

ROOT = Path(reflectionflow_core.__file__).parents[1]
PROMPTS = ("a photo of a red circle above a blue square", "a photo of two green triangles")
FOLDERS = (
    "001-a-photo-of-a-red-circle-above-a-blue-squ",
    "002-a-photo-of-two-green-triangles",
)
STAGED = ("--strategy", "staged", "--planner", "asked", "--width", 1, "--depth", 3)
THINKING = ("--think-first", "--thinker", "asked", "--width", 1, "--depth", 3)


@dataclass
class Author:
    """A planner and thinker that really makes three calls, one more than it foresees."""

    calls: int = 2
    spent: int = 0
    asked: list[str] = field(default_factory=list)
    breaks: bool = False

    def plan(self, prompt: str, progress: Progress = SILENT) -> ScenePlan:
        self._ask(prompt)
        stages = tuple(Stage(f"add {name}", prompt, (name,)) for name in ("one", "another"))
        return ScenePlan(stages, "Easy.")

    def expand(self, prompt: str, progress: Progress = SILENT) -> str:
        self._ask(prompt)
        return f"{prompt}, on a table"

    def _ask(self, prompt: str) -> None:
        self.asked.append(prompt)
        self.spent += 3
        if self.breaks:
            raise OSError("the line is dead")


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)


@pytest.fixture
def author(monkeypatch: pytest.MonkeyPatch) -> Author:
    author = Author()
    for rows in (registry.PLANNERS, registry.THINKERS):
        monkeypatch.setitem(rows, "asked", registry.Row(lambda *_: author))
    return author


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS), "utf-8")
    return path


def toys(choice, settings):
    return Toys(verifier=ToyVerifier(pass_at=0.99)).actors()


def no_power(choice, settings):
    return Toys(ToyGenerator(script={0: OSError("no power")})).actors()


def run(*options: object, builder=toys) -> int:
    return main(["run", *map(str, options)], build_actors=builder)


def recorded(folder: Path) -> Run:
    found = read_recording(folder).run
    assert found is not None
    return found


def histories(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("*/history.jsonl")}


def costs(folder: Path) -> list[int]:
    """The calls after each picture of a run."""
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["cost"]["vlm_calls"] for line in lines]


def test_the_miniature_draws_each_prompt_by_a_plan_of_its_own(tmp_path, prompts, capsys):
    out, options = tmp_path / "out", ("--strategy", "staged", "--width", 1, "--depth", 2)
    assert run("--prompts", prompts, "--out", out, *options, builder=build_actors) == 0
    said = capsys.readouterr().err
    for prompt, name in zip(PROMPTS, FOLDERS, strict=True):
        run(prompt, "--out", tmp_path / name, *options, builder=build_actors)
        plan = recorded(out / name).settings.stages
        assert plan[-1].scene == prompt and len(plan) == 2
        assert f"{name}: The stages:\n{as_text(plan)}\n" in said
        assert plan == recorded(tmp_path / name).settings.stages
        assert histories(out)[name] == (tmp_path / name / "history.jsonl").read_bytes()
        assert plan[0].instruction in (out / name / "report.html").read_text("utf-8")
    assert recorded(out / FOLDERS[0]).settings.stages != recorded(out / FOLDERS[1]).settings.stages


def test_an_interleaved_batch_thinks_each_prompt_through(tmp_path, prompts):
    options = ("--strategy", "interleaved", "--width", 1)
    assert run("--prompts", prompts, "--out", tmp_path / "out", *options) == 0
    thoughts = [recorded(tmp_path / "out" / name).settings.draft_prompt for name in FOLDERS]
    assert thoughts[0] == "red circle top, blue square bottom"
    assert thoughts[1] and thoughts[1] != thoughts[0]


@pytest.mark.parametrize("options", [STAGED, THINKING], ids=["staged", "think first"])
def test_nobody_is_asked_twice_and_the_calls_count(options, tmp_path, prompts, author, capsys):
    out = tmp_path / "out"
    run("--prompts", prompts, "--out", out, *options, "--max-images", 1)
    assert author.asked == [PROMPTS[0]]  # the other one was never played
    assert not (out / FOLDERS[1]).exists()
    for _ in range(2):
        assert run("--out", out, "--resume", "--max-images", "none") == 0
    assert author.asked == list(PROMPTS)
    for prompt, name in zip(PROMPTS, FOLDERS, strict=True):
        assert run(prompt, "--out", tmp_path / name, *options) == 0
        assert costs(out / name) == costs(tmp_path / name)
        assert costs(out / name)[0] == 3 + 1 + ("staged" in options)  # and the inspector's
    whole = tmp_path / "whole"
    run("--prompts", prompts, "--out", whole, *options)
    assert histories(out) == histories(whole)
    assert run("--out", out / FOLDERS[0], "--resume", "--depth", 4) == 0  # alone
    assert len(author.asked) == 6


def test_what_is_asked_counts_against_the_budget_even_if_nothing_was_painted(
    tmp_path, prompts, author
):
    out = tmp_path / "out"
    with pytest.raises(OSError, match="no power"):
        run("--prompts", prompts, "--out", out, *STAGED, "--max-calls", 8, builder=no_power)
    assert recorded(out / FOLDERS[0]).calls == 3
    assert read_recording(out / FOLDERS[0]).history.cost.vlm_calls == 3
    assert run("--out", out, "--resume") == 0
    assert author.asked == [PROMPTS[0]]  # 8 calls do not pay for another plan and its picture
    assert max(costs(out / FOLDERS[0])) <= 8
    assert run("--out", out, "--resume", "--max-calls", 13) == 0
    assert author.asked == list(PROMPTS)
    assert sum(costs(out / name)[-1] for name in FOLDERS) <= 13


def test_a_planner_that_breaks_says_how_to_go_on_and_is_asked_again(
    tmp_path, prompts, author, capsys
):
    author.breaks = True
    with pytest.raises(OSError, match="line is dead"):
        run("--prompts", prompts, "--out", tmp_path / "out", *STAGED)
    assert "Continue with: reflectionflow run" in capsys.readouterr().err
    author.breaks = False
    assert run("--out", tmp_path / "out", "--resume") == 0
    assert author.asked == [PROMPTS[0], *PROMPTS]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([*STAGED, "--think-first"], "--think-first has no effect"),
        (["--strategy", "staged", "--planner", "magic"], "no planner named 'magic'"),
        (["--strategy", "staged", "--planner", "vlm"], "The planner 'vlm' asks a vision-language"),
        (["--strategy", "staged", "--stages", "plan.txt"], "--stages is for a single run"),
        (["--think-first", "--thinker", "magic"], "no thinker named 'magic'"),
        ([*STAGED, "--max-calls", 3], "prepare and judge one picture takes 4 VLM calls"),
        (["--strategy", "staged", "--prompts", "strange.txt"], "does not understand 'two cats'"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_painted(
    options, told, tmp_path, prompts, author, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("plan.txt").write_text("add it → it → it", "utf-8")
    Path("strange.txt").write_text(f"{PROMPTS[0]}\ntwo cats", "utf-8")
    assert run("--prompts", prompts, "--out", "new", *options) == 2
    assert told in capsys.readouterr().err
    assert not author.asked
    assert not Path("new").exists()


def test_a_batch_thinks_first_from_its_beginning_or_never(tmp_path, prompts, author, capsys):
    out = tmp_path / "out"
    run("--prompts", prompts, "--out", out, "--depth", 0)
    assert run("--out", out, "--resume", "--think-first") == 2
    assert "holds a batch without --think-first" in capsys.readouterr().err
    assert not author.asked


def test_a_plan_is_not_kept_for_another_prompt(tmp_path, author):
    with pytest.raises(OSError, match="no power"):
        run(PROMPTS[0], "--out", tmp_path, *STAGED, builder=no_power)
    assert run(PROMPTS[1], "--out", tmp_path, *STAGED) == 0
    assert author.asked == list(PROMPTS)
    assert recorded(tmp_path).settings.stages[-1].scene == PROMPTS[1]
    assert costs(tmp_path)[0] == 3 + 3 + 1 + 1  # both plans were paid for
    assert recorded(tmp_path).calls == 6


PROGRAM = """
import sys, time
from pathlib import Path
from fakes import ToyCorrector, ToyGenerator, Toys, ToyVerifier
from reflectionflow_core import registry
from reflectionflow_core.cli import main
from reflectionflow_core.miniature.planner import RulePlanner

class Noted(RulePlanner):
    calls = 1
    def plan(self, *asked):
        with open(sys.argv.pop(1), "a") as notes:
            notes.write(asked[0] + "\\n")
        sys.argv.insert(1, notes.name)
        return super().plan(*asked)

def slow(choice, settings):
    nap = lambda: time.sleep(0.03)
    painters = {"generator": ToyGenerator(on_call=nap), "corrector": ToyCorrector(on_call=nap)}
    return Toys(verifier=ToyVerifier(pass_at=0.99), **painters).actors()

registry.PLANNERS["noted"] = registry.Row(lambda choice, vlm: Noted())
sys.exit(main(sys.argv[2:], build_actors=slow))
"""


def start(folder: Path, prompts: Path, name: str) -> subprocess.Popen:
    script = folder / "program.py"
    script.write_text(PROGRAM)
    options = ["--prompts", prompts, "--out", folder / name, "--strategy", "staged"]
    options += ["--planner", "noted", "--depth", "4", "--resume"]
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / f"{name}.txt"), "run", *map(str, options)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_killed_after_each_plan_it_plans_no_prompt_again(tmp_path, prompts):
    assert start(tmp_path, prompts, "whole").wait(60) == 0
    for name in FOLDERS:
        process = start(tmp_path, prompts, "killed")
        deadline = time.monotonic() + 30
        run_file = tmp_path / "killed" / name / "run.json"
        while time.monotonic() < deadline and not run_file.exists():
            time.sleep(0.002)
        process.kill()
        process.wait()
    assert start(tmp_path, prompts, "killed").wait(60) == 0
    assert (tmp_path / "killed.txt").read_text().splitlines() == list(PROMPTS)
    assert histories(tmp_path / "killed") == histories(tmp_path / "whole")
