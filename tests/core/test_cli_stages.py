"""The command line writes plans and thoughts before it paints, once, and shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ToyCorrector, Toys, ToyVerifier

from reflectionflow_core.archive import files, read_recording
from reflectionflow_core.cli import main
from reflectionflow_core.miniature.inspector import ExactInspector
from reflectionflow_core.planners.text import as_text, from_text
from reflectionflow_core.record import InputError, Stage
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.settings import SearchSettings

PROMPT = "a photo of a red circle above a blue square"
OWN = "add a blue square → a blue square → a blue square\nadd a red circle -> x -> a red circle"


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)


def run(*options: object, toys: Toys | None = None) -> int:
    seats = (toys or Toys(verifier=ToyVerifier(pass_at=0.99))).actors()
    return main(["run", *map(str, options)], build_actors=lambda *_: seats)


def settings(folder: Path) -> SearchSettings:
    recorded = read_recording(folder).run
    assert recorded is not None
    return recorded.settings


def test_a_plan_is_on_disk_before_the_first_picture_and_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Toys(corrector=ToyCorrector(script={0: OSError("the power fails")}))
    options = (PROMPT, "--out", tmp_path, "--strategy", "staged", "--planner", "rules-strict")
    with pytest.raises(OSError, match="power"):
        run(*options, toys=broken)
    plan = settings(tmp_path).stages
    assert [stage.instruction for stage in plan] == [
        "add a blue square",
        "add a red circle above the square",
    ]
    assert f"The stages:\n{as_text(plan)}\n" in capsys.readouterr().err
    drafts = (tmp_path / "history.jsonl").read_bytes()
    assert run("--out", tmp_path, "--resume", "--depth", 4) == 0
    assert settings(tmp_path).stages == plan
    assert (tmp_path / "history.jsonl").read_bytes().startswith(drafts)
    assert "add a blue square" in capsys.readouterr().err  # shown again, not written again


def test_a_plan_of_ones_own_takes_the_place_of_the_planners(tmp_path: Path) -> None:
    (tmp_path / "plan.txt").write_text(OWN, "utf-8-sig")  # as Windows' editor saves it
    options = ("--strategy", "staged", "--stages", tmp_path / "plan.txt", "--depth", 1)
    assert run("two cats", "--out", tmp_path / "run", *options) == 0
    stages = settings(tmp_path / "run").stages
    assert [stage.scene for stage in stages] == ["a blue square", "x"]
    assert stages[0].instruction == "add a blue square"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--planner", "magic"], "no planner named 'magic'. Choose one of: rules, rules-strict"),
        (["--planner", "vlm"], "The planner 'vlm' asks a vision-language model"),
        (["--stages", "nowhere.txt"], "give the name of a file with one stage per line"),
        (["--stages", "{"], "'{' cannot be read as a file (No such file or directory)"),
        (["--stages", "bad.txt"], "is not a stage"),
        (["--stages", "dog.txt"], "does not understand 'a dog'"),
        (["--context", "9"], "The context is 9. Give a number from 0 to 8."),
        (["--axes", "noise"], "needs the axis reflection"),
        (["--think-first"], "--think-first has no effect"),
    ],
)
def test_what_cannot_be_planned_is_refused_before_anything_is_painted(
    options: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.txt").write_text("draw it", "utf-8")
    (tmp_path / "dog.txt").write_text("add a dog -> a dog -> a dog", "utf-8")
    seats = replace(Toys().actors(), inspector=ExactInspector())
    asked = ["run", PROMPT, "--out", "new", "--strategy", "staged", *options]
    assert main(asked, build_actors=lambda *_: seats) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_interleaved_run_thinks_first_and_repaints_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(PROMPT, "--out", tmp_path, "--strategy", "interleaved") == 0
    assert settings(tmp_path).draft_prompt == "red circle top, blue square bottom"
    assert settings(tmp_path).depth == 1
    assert "Thought through: red circle top" in capsys.readouterr().err
    assert run("--out", tmp_path, "--resume", "--depth", 3) == 0
    assert len(read_recording(tmp_path).history.rounds) == 4
    prompts = {json.loads(line)["prompt"] for line in (tmp_path / "history.jsonl").open()}
    assert prompts == {"red circle top, blue square bottom"}


def test_a_run_in_context_keeps_how_many_pictures_it_shows(tmp_path: Path) -> None:
    assert run(PROMPT, "--out", tmp_path, "--strategy", "in-context", "--context", 2) == 0
    assert settings(tmp_path).context == 2
    assert run("--out", tmp_path, "--resume", "--context", 3) == 2


def test_a_choice_has_an_inspector_for_a_search_in_stages_only() -> None:
    staged = SearchSettings(strategy="staged")
    assert isinstance(build_actors(ActorChoice(), staged).inspector, ExactInspector)
    assert build_actors(ActorChoice(), SearchSettings()).inspector is None
    with pytest.raises(InputError, match="no inspector named 'x'"):
        build_actors(ActorChoice(inspector="x"), staged)
    # Also where nobody would ask them.
    for choice in (ActorChoice(planner="x"), ActorChoice(thinker="x")):
        with pytest.raises(InputError, match=r"no (planner|thinker) named 'x'"):
            build_actors(choice, SearchSettings())
    with pytest.raises(InputError, match="The inspector 'vlm' asks a vision-language model"):
        build_actors(ActorChoice(inspector="vlm"), staged)


def test_a_models_plan_is_read_again_whatever_signs_are_in_its_texts() -> None:
    told = Stage("turn red → blue", "a blue\ncup -> full", ("cup; blue", "a\u2028saucer"))
    (again,) = from_text(as_text([told]))
    assert again == Stage("turn red to blue", "a blue cup to full", ("cup, blue", "a saucer"))
    assert from_text(as_text([again])) == (again,)
