"""`reflectionflow judge`: what it asks, prints and keeps, and what later searches show of it."""

from __future__ import annotations

import base64
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.exact_detector import ShapesDetector
from fakes import Toys
from PIL import Image
from plain_colours import MARK, is_of_the_check, seen
from shape_reader import is_true
from vlm_asking import KEY
from vlm_server import MODEL, Asked, Reply, VlmServer, refuses, says

from reflectionflow_core import registry
from reflectionflow_core.archive import read_recording
from reflectionflow_core.cli import main
from reflectionflow_core.detection import load
from reflectionflow_core.judge_errors import JudgeErrors, KindErrors, kind_of
from reflectionflow_core.judge_exam.labels import read_labelled
from reflectionflow_core.judge_exam.scenes import drawn
from reflectionflow_core.miniature.world import Thing
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import InputError, Request
from reflectionflow_core.registry import ModelRow, build_verifier
from reflectionflow_core.vlm import named
from reflectionflow_core.vlm.judge_check import profile_key, recorded_errors
from reflectionflow_core.vlm.kept_errors import keep_errors
from reflectionflow_core.vlm.profiles import Profile

RED_LEFT = (Thing("circle", "red", 14, 30, 9), Thing("square", "blue", 46, 31, 9))


def shown(asked: Asked) -> Image.Image:
    data = base64.b64decode(asked.pictures[0].partition(",")[2])
    return Image.open(io.BytesIO(data)).convert("RGB")


def statement(asked: Asked) -> str:
    found = re.findall(r"<data>(?:Does the picture show this: )?([^<]+)</data>", asked.text)
    return found[-1]


def answers(asked: Asked, wrong: Callable[[str, bool], bool]) -> Reply:
    """Sees plain colours and shapes, but for statements that are `wrong` with their truth."""
    if is_of_the_check(asked.text):
        return says(seen(asked.text, asked.pictures, "response_format" in asked.body))
    said = statement(asked)
    truth = is_true(said, shown(asked))
    right = truth != wrong(said, truth)
    tops = {"yes": -0.1, "no": -2.4} if right else {"yes": -2.4, "no": -0.1}
    return says("yes" if right else "no", tops=tops)


def miscounts(said: str, truth: bool) -> bool:
    """Takes every wrong number for right."""
    return "exactly" in said and not truth


sees = partial(answers, wrong=lambda *_: False)
bad_at_numbers = partial(answers, wrong=miscounts)


@pytest.fixture(autouse=True)
def fresh_models() -> Iterator[None]:
    named._built_vlm.cache_clear()
    yield
    named._built_vlm.cache_clear()


def known(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name, value in {"BASE_URL": url, "API_KEY": KEY, "MODEL": MODEL}.items():
        monkeypatch.setenv(f"REFLECTIONFLOW_MINE_{name}", value)


def search(out: Path) -> int:
    begun = ["run", "two green bowls", "--out", str(out), "--depth", "0"]
    return main(
        [*begun, "--verifier", "yes-no", "--vlm", "endpoint:mine", "--judge-check", "off"],
        build_actors=lambda choice, _: replace(Toys().actors(), verifier=build_verifier(choice)),
    )


def kept(folder: Path) -> dict[str, JudgeErrors]:
    table = json.loads((folder / "judge_errors.json").read_text())
    return {key: JudgeErrors.from_data(data) for key, data in table.items()}


def test_a_judge_that_cannot_count_is_measured_and_its_errors_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home_of_profiles: Path
) -> None:
    with VlmServer(bad_at_numbers) as server:
        known(monkeypatch, server.url)
        assert main(["judge", "--vlm", "mine", "--questions", "80"]) == 0
        assert len(server.asked) == 5 + 80 and not server.errors
    printed = capsys.readouterr().out
    assert re.search(r"^number +6 of 6: 100% \[61%, 100%\] +0 of 6: 0%", printed, re.MULTILINE)
    assert re.search(r"^colour +0 of 6", printed, re.MULTILINE)
    assert "6 of 6 wrong answers came back." in printed
    (errors,) = kept(home_of_profiles).values()
    assert errors.judge == "endpoint:mine" and errors.of("number").missed == 6
    assert KEY not in (home_of_profiles / "judge_errors.json").read_text()


def test_later_searches_with_a_measured_judge_show_and_record_its_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    home_of_profiles: Path,
) -> None:
    errors = JudgeErrors("endpoint:mine", (KindErrors("number", 10, 4, 10, 1),))
    sentence = "This judge misses 4 of 10 wrong counts"
    with VlmServer([says("yes", tops={"yes": -0.1, "no": -2.4})]) as server:
        known(monkeypatch, server.url)
        assert search(tmp_path / "before") == 0
        assert "This judge misses" not in capsys.readouterr().err
        key = profile_key(Profile("mine", server.url, KEY, MODEL))
        keep_errors(home_of_profiles, key, errors)
        assert search(tmp_path / "after") == 0
    assert sentence in capsys.readouterr().err
    recorded = read_recording(tmp_path / "after").run
    assert recorded is not None and recorded_errors(recorded.judge) == errors
    assert sentence in (tmp_path / "after" / "report.html").read_text(encoding="utf-8")


def test_errors_of_a_model_that_only_writes_are_not_said_of_the_judge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    home_of_profiles: Path,
) -> None:
    errors = JudgeErrors("endpoint:mine", (KindErrors("number", 10, 4, 10, 1),))
    with VlmServer([says("yes")]) as server:
        known(monkeypatch, server.url)
        key = profile_key(Profile("mine", server.url, KEY, MODEL))
        keep_errors(home_of_profiles, key, errors)
        command = ["run", "two green bowls", "--out", str(tmp_path / "a"), "--depth", "1"]
        command += ["--verifier", "exact", "--writer", "vlm", "--vlm", "endpoint:mine"]
        toys = Toys().actors()
        options = ["--judge-check", "off", "--width", "1"]
        assert main([*command, *options], build_actors=lambda *_: toys) == 0
    assert "This judge misses" not in capsys.readouterr().err
    recorded = read_recording(tmp_path / "a").run
    assert recorded is not None and not recorded.judge


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda a: says("red" if MARK in a.text else "yes"), "The judge is blind"),
        (lambda _: refuses(402, "Insufficient credits"), 'said "Insufficient credits"'),
        (
            lambda a: sees(a) if MARK in a.text else refuses(400, "no such thing"),
            "The judge answered none of 24 questions",
        ),
    ],
)
def test_a_blind_or_dead_judge_is_told_in_a_sentence_with_the_doctors_exit_status(
    script: Callable[[Asked], Reply],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    home_of_profiles: Path,
) -> None:
    with VlmServer(script) as server:
        known(monkeypatch, server.url)
        assert main(["judge", "--vlm", "mine", "--questions", "40"]) == 1
    output = capsys.readouterr()
    assert words in output.err and not output.out
    assert not (home_of_profiles / "judge_errors.json").exists()


def labelled(folder: Path, *lines: dict[str, Any] | str) -> Path:
    folder.mkdir(exist_ok=True)
    drawn(RED_LEFT, 256).save(folder / "a.png")
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (folder / "labels.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_labelled_pictures_come_first_and_unchanged_ones_are_copies_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    things = [
        {"name": "circle", "box": [0.05, 0.3, 0.4, 0.65], "colour": "red"},
        {"name": "square", "box": [0.55, 0.3, 0.9, 0.65], "colour": "blue"},
    ]
    images = labelled(
        tmp_path / "mine",
        {"file": "a.png", "statement": "the circle is red", "true": True},
        {"file": "a.png", "statement": "the circle is left of the square", "true": True},
        {"file": "a.png", "statement": "a triangle", "true": False},
        {"file": "a.png", "things": things},
    )
    out = tmp_path / "out"
    with VlmServer(sees) as server:
        known(monkeypatch, server.url)
        options = ["--images", str(images), "--questions", "80", "--out", str(out)]
        assert main(["judge", "--vlm", "mine", *options]) == 0
        assert not server.errors
        printed = capsys.readouterr()
        assert "The contents of 1 picture are known." in printed.err
        assert re.search(r"^all +0 of 30: .* 0 of 30", printed.out, re.MULTILINE), printed.out
        assert main(["judge", "--vlm", "mine", *options]) == 2
    assert "holds another exam" in capsys.readouterr().err
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == 80
    original = (images / "a.png").read_bytes()
    changes = set()
    for line in lines:
        picture = (out / line["file"]).read_bytes()
        unchanged = line["source"] in ("labels", "unchanged pictures", "turned words")
        assert (picture == original) is (unchanged and not line["again"])
        with Image.open(io.BytesIO(picture)) as opened:
            assert is_true(line["statement"], opened.convert("RGB")) is line["true"], line
        changes.add(line["change"])
    assert changes >= {"", "mirrored", "hues turned", "one circle erased"}
    sources = {line["source"] for line in lines}
    assert sources == {
        "drawn scenes",
        "labels",
        "unchanged pictures",
        "planted changes",
        "turned words",
    }


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["{"], "line 1: it is not JSON"),
        (
            ["", {"file": "b.png", "statement": "a", "true": True}],
            "line 2: there is no picture 'b.png'",
        ),
        ([{"file": "../a.png", "statement": "a", "true": True}], "there is no picture '../a.png'"),
        ([{"file": "a.png", "statement": "a cup"}], 'needs "true"'),
        ([{"file": "a.png", "statement": "a cup", "true": "yes"}], "true: "),
        ([{"file": "a.png"}], 'either "statement" or "things"'),
        ([{"file": "a.png", "statement": "a", "true": True, "kind": "taste"}], "kind"),
        ([{"file": "a.png", "statement": "a", "true": True, "tru": 1}], "tru: "),
        (
            [{"file": "a.png", "things": [{"name": "cup", "box": [0.4, 0, 0.2, 1]}]}],
            "a box must be",
        ),
        (
            [{"file": "a.png", "things": [{"name": "c", "box": [0, 0, 1, 1], "colour": "mauve"}]}],
            "colour must be one of",
        ),
        (["[]"] * 7, "line 5: .*; and 2 more"),
    ],
)
def test_bad_labels_are_told_by_the_number_of_their_line(
    lines: list[Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="Correct them, or remove them") as caught:
        read_labelled(labelled(tmp_path / "mine", *lines))
    assert re.search(words, str(caught.value)), caught.value


def test_a_name_may_be_written_as_macos_does_and_a_statement_holds_any_line_sign(
    tmp_path: Path,
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / unicodedata.normalize("NFD", "tasse-é.png"))
    (tmp_path / "._tasse.png").write_bytes(b"of macOS")
    line = {"file": "tasse-é.png", "statement": "a cup\u2028and a plate", "true": True}
    text = json.dumps(line, ensure_ascii=False)
    (tmp_path / "labels.jsonl").write_text(text, encoding="utf-8")
    found = read_labelled(tmp_path)
    (item,) = found.items(np.random.default_rng(0))
    assert not found.unlabelled and (item.picture().size, item.statement) == (
        (8, 8),
        line["statement"],
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_labels_of_windows_editors_and_pictures_of_every_ending_are_read(
    tmp_path: Path, encoding: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jfif", "JPEG")
    line = json.dumps({"file": "a.jfif", "statement": "eine Tüte", "true": True})
    (tmp_path / "labels.jsonl").write_bytes(f"{line}\r\n".encode(encoding))
    assert [line.statement for line in read_labelled(tmp_path).lines] == ["eine Tüte"]
    (tmp_path / "labels.jsonl").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"labels.jsonl cannot be read: it is not UTF-8 .* Save"):
        read_labelled(tmp_path)


def test_a_label_without_a_kind_has_that_of_its_words(tmp_path: Path) -> None:
    said = {"file": "a.png", "true": True}
    folder = labelled(
        tmp_path / "mine",
        {**said, "statement": "two dogs"},
        {**said, "statement": "two dogs", "kind": "other"},
    )
    lines = read_labelled(folder).lines
    assert [line.kind or kind_of(line.statement or "") for line in lines] == ["number", "other"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "There is no judge to measure"),
        (["--vlm", "mine", "--seed", "-2"], "The seed is -2. Give a whole number from 0"),
        (["--vlm", "mine", "--seed", str(2**64)], "The seed is 18446744073709551616. Give"),
        (["--seed", "-1"], "drawn at random"),
        (["--questions", "39"], "39 is less than 40"),
        (["--vlm", "mine", "--images", "nowhere"], "There is no folder nowhere"),
        (["--vlm", "mine", "--steps", "3"], "--steps has no effect without a model that paints"),
        (["--vlm", "mine", "--things", "cup"], "--things are what a detector looks for"),
        (["--vlm", "mine", "--model", "some/flux"], "A prompt does not say what the picture"),
        (["--verifier", "taste"], "no verifier named 'taste'"),
        (["--verifier", "text"], "reads writing, and the pictures of this exam have none. Give"),
        (["--verifier", "text", "--dry-run"], "Give --images with pictures of writing and labels"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with VlmServer(sees) as server:
        known(monkeypatch, server.url)
        assert main(["judge", *options]) == 2
    assert words in capsys.readouterr().err


def test_pictures_of_which_nothing_is_known_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    drawn(RED_LEFT, 64).save(folder / "a.png")
    with VlmServer(sees) as server:
        known(monkeypatch, server.url)
        assert main(["judge", "--vlm", "mine", "--images", str(folder)]) == 2
    assert "Nothing is known about the pictures" in capsys.readouterr().err


@pytest.mark.parametrize("verifier", ["exact", "2*exact+text"])
def test_the_rules_for_the_miniatures_pictures_are_not_measured_on_others(
    verifier: str, capsys: pytest.CaptureFixture[str], home_of_profiles: Path
) -> None:
    assert main(["judge", "--verifier", verifier, "--questions", "40"]) == 2
    assert "'exact' reads the miniature's own pictures only" in capsys.readouterr().err
    assert not (home_of_profiles / "judge_errors.json").exists()


def test_pictures_of_the_miniature_are_known_by_what_is_seen_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with VlmServer(sees) as server:
        known(monkeypatch, server.url)
        options = ["--model", "miniature", "--pictures", "3", "--questions", "40"]
        assert main(["judge", "--vlm", "mine", *options, "--out", str(out)]) == 0
        assert not server.errors
    assert re.search(r"The contents of [123] pictures? are known", capsys.readouterr().err)
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert "unchanged pictures" in {line["source"] for line in lines}


class Scenes:
    """Paints one scene for every request, whatever its prompt."""

    steps = 1

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image.Image]:
        self.prompts += [request.prompt for request in requests]
        return [drawn(RED_LEFT, 128) for _ in requests]


def test_of_painted_pictures_only_what_the_detector_sees_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    painter, out = Scenes(), tmp_path / "out"
    monkeypatch.setitem(registry.MODELS, "scenes", ModelRow(lambda *_: (painter, None)))
    monkeypatch.setattr(load, "load_any", lambda *_: ShapesDetector())
    with VlmServer(sees) as server:
        known(monkeypatch, server.url)
        options = ["--model", "scenes", "--detector", "any", "--pictures", "5"]
        command = ["judge", "--vlm", "mine", *options, "--things", "circle,square,triangle"]
        assert main([*command, "--questions", "40", "--out", str(out)]) == 0
        assert not server.errors
    assert len(painter.prompts) == 5 and all("a photo of " in each for each in painter.prompts)
    assert "The contents of 5 pictures are known." in capsys.readouterr().err
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    own = [line for line in lines if line["source"] in ("unchanged pictures", "turned words")]
    assert own and not any(line["wrong"] for line in lines)
    assert not {line["statement"] for line in lines} & {*painter.prompts}
