"""The check of the judge on the command line: before a search, in its records, and by `doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Toys
from plain_colours import MARK, colours_of
from scripted_vlm import ScriptedVlm
from vlm_asking import KEY
from vlm_server import MODEL, Asked, Reply, VlmServer, refuses, says

from reflectionflow_core.archive import read_recording
from reflectionflow_core.cli import judging, main, painting
from reflectionflow_core.cli.judging import agree, agree_about, looks
from reflectionflow_core.evaluation.pool import WorkerPool
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import ActorChoice, build_verifier
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.vlm import named
from reflectionflow_core.vlm.named import build_vlm
from reflectionflow_core.vlm.probe import TEXT_ONLY

HOST = "pictures.example.org"


def judge(asked: Asked) -> Reply:
    """Sees plain colours, and finds every other picture right."""
    if MARK not in asked.text:
        return says("yes", tops={"yes": -0.1, "no": -2.4})
    colours = colours_of(asked.pictures)
    form = "response_format" in asked.body
    return says(json.dumps({"colour": colours}) if form else colours)


def blind(asked: Asked) -> Reply:
    return says("red" if MARK in asked.text else "yes", tops={"yes": -0.1, "no": -2.4})


@pytest.fixture(autouse=True)
def fresh_models() -> Iterator[None]:
    named._built_vlm.cache_clear()
    yield
    named._built_vlm.cache_clear()


def known(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name, value in {"BASE_URL": url, "API_KEY": KEY, "MODEL": MODEL}.items():
        monkeypatch.setenv(f"REFLECTIONFLOW_MINE_{name}", value)


def run(out: Path, *options: str) -> int:
    begun = ["run", "two green bowls", "--out", str(out), "--drafts", "2", "--depth", "0"]
    return main(
        [*begun, "--verifier", "yes-no", "--vlm", "endpoint:mine", *options],
        build_actors=lambda choice, _: replace(Toys().actors(), verifier=build_verifier(choice)),
    )


CHECKED = "<h3>The judge, as it was checked</h3><p>sees yes"


def test_a_search_begins_with_the_check_and_keeps_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with VlmServer(judge) as server:
        known(monkeypatch, server.url)
        assert run(tmp_path / "a") == 0
        first = len(server.asked)
        assert MARK in server.asked[0].text
        assert run(tmp_path / "b") == 0
        again = server.asked[first:]
        assert again and not [asked for asked in again if MARK in asked.text]
    assert "Judge endpoint:mine: sees yes" in capsys.readouterr().err
    for folder in (tmp_path / "a", tmp_path / "b"):
        recorded = read_recording(folder).run
        assert recorded is not None and recorded.judge["sees"] is True
        assert recorded.judge["pictures"] == 4
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert CHECKED in page and KEY not in page
    (tmp_path / "a" / "report.html").unlink()
    assert main(["report", str(tmp_path / "a")]) == 0
    assert CHECKED in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("many", [False, True])
def test_a_blind_judge_ends_a_search_before_the_first_picture(
    many: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, prompts = tmp_path / "out", tmp_path / "prompts.txt"
    prompts.write_text("two green bowls\na red cup\n")
    toys = Toys()
    begun = ["--prompts", str(prompts)] if many else ["two green bowls"]
    options = ["--out", str(out), "--verifier", "yes-no", "--vlm", "endpoint:mine", "--depth", "0"]

    def command(*more: str) -> int:
        return main(
            ["run", *begun, *options, *more],
            build_actors=lambda choice, _: replace(toys.actors(), verifier=build_verifier(choice)),
        )

    with VlmServer(blind) as server:
        known(monkeypatch, server.url)
        assert command() == 2
        said = capsys.readouterr().err
        assert "The judge is blind" in said and "--judge-check warn" in said
        assert not out.exists() and not toys.generator.log
        assert command("--judge-check", "warn") == 0
        assert "The judge is blind" in capsys.readouterr().err
        monkeypatch.setenv("REFLECTIONFLOW_JUDGE_CHECK", "off")
        asked = len(server.asked)
        assert command("--resume") == 0
        assert not [a for a in server.asked[asked:] if MARK in a.text]
    folder = next(out.glob("001*")) if many else out
    recorded = read_recording(folder).run
    assert recorded is not None and recorded.judge["sees"] is False  # also after the resume


def test_a_dead_judge_ends_a_search_with_its_servers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with VlmServer([refuses(402, "Insufficient credits")]) as server:
        known(monkeypatch, server.url)
        assert run(tmp_path / "a") == 2
    assert '402 (payment required) and said "Insufficient credits"' in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert run(tmp_path / "a", "--judge-check", "sometimes") == 2
    assert "strict, warn, off" in capsys.readouterr().err


def test_pictures_go_to_a_new_host_only_after_consent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    home_of_profiles: Path,
) -> None:
    known(monkeypatch, f"http://{HOST}:1/v1")
    for command in (lambda: run(tmp_path / "a"), lambda: main(["doctor", "--vlm", "mine"])):
        assert command() == 2
        said = capsys.readouterr().err
        assert f"Pictures will be sent to {HOST}" in said and "--send-pictures" in said
        assert KEY not in said
    assert not [*home_of_profiles.iterdir()]
    monkeypatch.setattr("reflectionflow_core.cli.judging._answers_yes", lambda: True)
    agree(build_vlm("endpoint:mine"), agreed=False)
    assert f"Pictures will be sent to {HOST}" in capsys.readouterr().err
    assert HOST in json.loads((home_of_profiles / "consent.json").read_text())
    monkeypatch.setattr("reflectionflow_core.cli.judging._answers_yes", lambda: 1 / 0)
    agree(build_vlm("endpoint:mine"), agreed=False)
    assert capsys.readouterr().err == ""


def test_consent_is_given_by_an_option_or_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, home_of_profiles: Path
) -> None:
    known(monkeypatch, f"https://{HOST}/v1")
    monkeypatch.setattr("reflectionflow_core.cli.judging._answers_yes", lambda: 1 / 0)
    monkeypatch.setenv("REFLECTIONFLOW_SEND_PICTURES", HOST)
    agree(build_vlm("endpoint:mine"), agreed=False)
    assert not (home_of_profiles / "consent.json").exists()
    monkeypatch.delenv("REFLECTIONFLOW_SEND_PICTURES")
    agree(build_vlm("endpoint:mine"), agreed=True)
    agree(build_vlm("endpoint:mine"), agreed=False)


def test_a_benchmark_is_painted_and_judged_only_after_check_and_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "prompts.jsonl"
    rows.write_text('{"prompt": "two green bowls"}\n')
    paint = ["evaluate", "geneval", "--generate", "--prompts", str(rows), "--verifier", "yes-no"]
    paint += ["--images", str(tmp_path / "images"), "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr("reflectionflow_core.cli.geneval.read_task", lambda _: None)
    with VlmServer(blind) as server:
        known(monkeypatch, server.url)
        assert main([*paint, "--vlm", "endpoint:mine", "--detector", "none/none"]) == 2
    assert "The judge is blind" in capsys.readouterr().err
    assert not (tmp_path / "images").exists()
    known(monkeypatch, f"http://{HOST}/v1")
    named._built_vlm.cache_clear()
    with pytest.raises(InputError, match=HOST):
        agree_about("endpoint:mine", agreed=False)
    agree_about("nobody/asks-of-this", agreed=False)


def test_the_doctor_asks_anew_and_says_what_a_judge_can_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home_of_profiles: Path
) -> None:
    with VlmServer(judge) as server:
        known(monkeypatch, server.url)
        for name in ("mine", "endpoint:mine"):
            before = len(server.asked)
            assert main(["doctor", "--vlm", name]) == 0
            assert len(server.asked) == before + 5
            said = capsys.readouterr().out
            for fact in ("sees                yes", "thinks              no", "JSON schema"):
                assert fact in said
            assert "pictures a question 4 or more" in said and "Asked in 5 requests." in said
    assert "sees" in (home_of_profiles / "judges.json").read_text()


def test_the_doctor_fails_for_a_blind_judge_and_without_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with VlmServer(blind) as server:
        known(monkeypatch, server.url)
        assert main(["doctor", "--vlm", "mine"]) == 1
        output = capsys.readouterr()
        assert "no, it is blind" in output.out and "The judge is blind" in output.err
    assert main(["doctor", "--vlm", "gone"]) == 2
    assert "The profile gone has no API_KEY" in capsys.readouterr().err
    assert main(["doctor", "--device", "cpu"]) == 2
    assert "--device has no effect without --vlm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("choice", "settings", "expected"),
    [
        ({"verifier": "exact"}, {}, False),
        ({"verifier": "exact+yes-no"}, {}, True),
        ({"verifier": "exact", "gate": "checklist"}, {}, True),
        ({"writer": "vlm"}, {}, True),
        ({"writer": "vlm"}, {"depth": 0}, False),
        ({"writer": "vlm"}, {"strategy": "noise"}, False),
        ({"evolver": "vlm"}, {}, True),
        ({"evolver": "vlm"}, {"axes": ("noise", "reflection")}, False),
        ({"inspector": "vlm"}, {}, False),
        ({"inspector": "vlm"}, {"strategy": "staged"}, True),
        ({"thinker": "vlm", "planner": "vlm"}, {"strategy": "interleaved"}, False),
        ({"screen": "yes-no"}, {}, True),
        ({"screen": "noisy"}, {}, False),
        ({"verifier": "objects"}, {}, False),
    ],
)
def test_only_models_that_are_shown_pictures_are_checked(
    choice: dict[str, Any], settings: dict[str, Any], expected: bool
) -> None:
    base: dict[str, Any] = {
        "verifier": "exact",
        "writer": "template",
        "evolver": "rules",
        "vlm": "endpoint:mine",
    }
    assert looks(ActorChoice(**base | choice), SearchSettings(**settings)) is expected


def think(out: Path, toys: Toys, *options: str) -> int:
    begun = ["run", "two green bowls", "--out", str(out), "--strategy", "noise", "--width", "2"]
    how = ["--verifier", "exact", "--think-first", "--vlm", "endpoint:mine"]
    return main([*begun, *how, *options], build_actors=lambda *_: toys.actors())


def dreamer(asked: Asked) -> Reply:
    """Answers texts as they ask to be; it would refuse pictures."""
    if asked.pictures:
        return refuses(400, "this model reads texts only")
    if asked.text == TEXT_ONLY.text:
        return says("yes")
    return says(json.dumps({"prompt": "two green bowls on a table", "layout": "", "style": ""}))


def test_a_model_that_only_thinks_first_is_asked_for_a_text_once_and_shown_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with VlmServer(dreamer) as server:
        known(monkeypatch, server.url)
        assert think(tmp_path / "a", Toys()) == 0
        first = [asked for asked in server.asked if asked.text == TEXT_ONLY.text]
        assert server.asked[0] is first[0] and len(first) == 1
        assert think(tmp_path / "b", Toys()) == 0
        assert len([asked for asked in server.asked if asked.text == TEXT_ONLY.text]) == 1
        assert not any(asked.pictures for asked in server.asked)
    assert "Judge endpoint:mine: answers texts yes, thinks no" in capsys.readouterr().err
    recorded = read_recording(tmp_path / "b").run
    assert recorded is not None and "sees" not in recorded.judge and "seconds" in recorded.judge


@pytest.mark.parametrize(
    "options", [["--think-first"], ["--strategy", "staged", "--planner", "vlm"]]
)
def test_a_dead_model_of_texts_ends_a_search_before_its_first_picture(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    toys, begun = Toys(), ["run", "two green bowls", "--out", str(tmp_path / "out")]
    with VlmServer([refuses(401, "who are you")]) as server:
        known(monkeypatch, server.url)
        how = ["--verifier", "exact", "--vlm", "endpoint:mine", *options]
        assert main([*begun, *how], build_actors=lambda *_: toys.actors()) == 2
        assert len(server.asked) == 1
    said = capsys.readouterr().err
    assert "who are you" in said and "--judge-check warn" in said and not toys.generator.log


def test_a_judge_that_is_kept_as_seeing_is_not_asked_for_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(asked: Asked) -> Reply:
        return judge(asked) if MARK in asked.text else dreamer(asked)

    with VlmServer(both) as server:
        known(monkeypatch, server.url)
        assert main(["doctor", "--vlm", "mine"]) == 0
        before = len(server.asked)
        assert think(tmp_path / "a", Toys()) == 0
        assert not [a for a in server.asked[before:] if a.text == TEXT_ONLY.text]


def test_a_local_judge_of_a_benchmark_is_asked_once_and_its_memory_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    built: list[str] = []
    forgotten: list[bool] = []
    colours = iter([[1, 0, 0, 0], [0, 1, 0, 0]])

    def build(spec: str, *_: Any) -> ScriptedVlm:
        built.append(spec)
        return ScriptedVlm(lambda _: "red, blue", lambda _: next(colours))

    monkeypatch.setattr(judging, "build_vlm", build)
    monkeypatch.setattr(painting, "forget_vlm", lambda: forgotten.append(True))
    choice = ActorChoice(verifier="yes-no", writer="template", evolver="rules", vlm=str(folder))
    for pool in (WorkerPool(2), WorkerPool(1)):
        painting._judge_of(choice, SearchSettings(), {}, pool)
    assert built == [str(folder)] and forgotten == [True]
    assert capsys.readouterr().err.count("sees yes") == 2
    painting._judge_of(choice, SearchSettings(), {"judge_check": "off"}, WorkerPool(2))
    assert len(built) == 1
