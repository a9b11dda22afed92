"""`reflectionflow rank` and its sheet and page: `pytest tests/core/test_ranking.py`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from core.test_objects import BLUE, GREEN, RED, drawn
from PIL import Image

from reflectionflow_core.cli import main
from reflectionflow_core.evidence import Evidence
from reflectionflow_core.judge_errors import JudgeErrors, KindErrors
from reflectionflow_core.record import Verdict
from reflectionflow_core.report.ranking import Ranking, ranking_page, ranking_sheet, ranking_text

REAL = Path(__file__).parents[3] / "shared" / "real"
RIGHT, WRONG = (47, 125, 79), (176, 69, 44)  # the boxes' colours


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    drawn(BLUE).save(made / "blue.png")
    drawn(RED, GREEN).save(made / "both <b>.png")
    drawn(GREEN).convert("RGBA").save(made / "green.webp")
    (made / "notes.txt").write_text("no picture")
    (tmp_path / "run.json").write_text("{}")
    return made


def lines(captured: str) -> list[str]:
    return [line.split(":")[0] for line in captured.splitlines() if ": " in line]


def test_a_folder_is_ranked_and_every_file_is_named(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    prompt = "a photo of a red circle"
    assert main(["rank", str(folder), prompt, "--verifier", "exact", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert lines(shown)[:3] == ["both <b>.png", "blue.png", "green.webp"]
    data = json.loads((out / "ranking.json").read_text())
    assert [d["file"] for d in data] == lines(shown)[:3]
    assert data[0]["score"] >= data[1]["score"] >= data[2]["score"]
    assert data[1]["evidence"][0]["text"] in data[1]["unmet"]
    page = (out / "ranking.html").read_text()
    assert "both &lt;b&gt;.png" in page and "<b>.png" not in page and prompt in page
    faults = [seen for d in data for seen in d["evidence"] if seen["text"] in d["unmet"]]
    assert page.count('class="fault"') == len(faults) > 0
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 3 * 200


def test_what_is_known_of_the_judge_is_said_and_stands_on_the_page(
    folder: Path, tmp_path: Path, capsys
) -> None:
    known, out = tmp_path / "errors.json", tmp_path / "out"
    errors = JudgeErrors("mine", (KindErrors("number", 10, 4, 10, 1),))
    known.write_text(json.dumps(errors.data()))
    options = ["--judge-errors", str(known), "--out", str(out)]
    assert main(["rank", str(folder), "a red circle", "--verifier", "exact", *options]) == 0
    said = "This judge misses 4 of 10 wrong counts, and takes 1 of 10 right statements for wrong."
    assert f"{known}: {said}" in capsys.readouterr().err
    assert f"verifier exact · {said}" in (out / "ranking.html").read_text()


def test_a_damaged_file_is_left_out_and_said(folder: Path, capsys) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert main(["rank", str(folder), "a red circle"]) == 0
    captured = capsys.readouterr()
    assert "broken.png is left out: it" in captured.err
    assert "broken" not in captured.out


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["{}/none", "a red circle"], "There is no folder"),
        (["{}/pictures/blue.png", "a red circle"], "is a file, no folder"),
        (["{}", "a red circle"], "has no pictures"),
        (["{}/pictures", " "], "The prompt is empty"),
        (["{}/pictures", "a dog"], "The miniature does not understand"),
        (["{}/pictures", "a red circle", "--ground"], "--ground has no effect"),
        (["{}/pictures", "a cat", "--verifier", "objects"], "needs a detector"),
        (["{}/pictures", "a cat", "--width", "2"], "--width"),
        (["{}/pictures", "a red circle", "--out", "{}"], "holds a run with a sheet of its own"),
        (["{}/pictures", "a red circle", "--out", "{}/pictures"], "holds the pictures to rank"),
    ],
)
def test_bad_input_is_a_sentence(
    folder: Path, tmp_path: Path, capsys, given: list[str], match: str
) -> None:
    assert main(["rank", *(each.format(tmp_path) for each in given)]) == 2
    assert match in capsys.readouterr().err


def test_only_damaged_files_are_no_ranking(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    assert main(["rank", str(tmp_path), "a red circle"]) == 2
    assert "None of the pictures can be read" in capsys.readouterr().err


def boxed() -> Ranking:
    cat = Evidence("cat", (0.1, 0.1, 0.4, 0.4), 0.9)
    dog = Evidence("extra dog", (0.5, 0.5, 0.9, 0.9), 0.8)
    grey = [Image.new("RGB", (300, size), "grey") for size in (300, 200, 300)]
    verdicts = [
        Verdict(0.5, False, unmet=("extra dog",), evidence=(cat, dog)),
        Verdict.unjudged("The server does not answer."),
        Verdict(1.0, True, evidence=(cat,)),
    ]
    return Ranking.of("a cat", ["one", "two", "three"], grey, verdicts)


def test_boxes_of_right_and_wrong_things_are_on_sheet_and_page() -> None:
    ranking = boxed()
    assert ranking.names == ("three", "one", "two")
    pixels = np.asarray(ranking_sheet(ranking, "by hand").convert("RGB")).reshape(-1, 3)
    colours = {tuple(int(v) for v in colour) for colour in np.unique(pixels, axis=0)}
    assert {RIGHT, WRONG} <= colours
    page = ranking_page(ranking)
    assert page.count('<i class="seen"') == 2 and page.count('<i class="fault"') == 1
    assert "1 of 3 pictures could not be judged: The server does not answer." in page
    assert ranking_text(ranking).splitlines() == [
        "three: 1.000, passed",
        "one: 0.500, not passed: extra dog",
        "two: not judged: The server does not answer.",
        "1 of 3 pictures could not be judged: The server does not answer.",
    ]


def test_where_nothing_was_judged_nothing_is_the_best() -> None:
    grey = Image.new("RGB", (20, 20))
    ranking = Ranking.of("a cat", ["one"], [grey], [Verdict.unjudged("Down.")])
    assert ranking.best is None and 'class="badge"' not in ranking_page(ranking)
    ranking_sheet(ranking)


def test_real_photographs_and_posters_are_ranked_by_detector_and_ocr(
    tmp_path: Path, capsys
) -> None:
    if not (REAL / "FastestDet.onnx").is_file():
        pytest.skip(f"NOT TESTED ON REAL PHOTOGRAPHS: {REAL} is not there")
    pytest.importorskip("rapidocr")
    from signs import font_files, with_writing

    font = next(f for f in font_files() if f.name == "DejaVuSans-Bold.ttf")
    cat, cup = (Image.open(REAL / f"{name}.png").convert("RGB") for name in ("chelsea", "coffee"))
    cat.save(tmp_path / "cat.png")
    cup.save(tmp_path / "cup.png")
    for picture, text, name in (
        (cat, "OPEN", "cat open"),
        (cat, "OPNE", "cat misspelt"),
        (cup, "OPEN", "cup open"),
    ):
        with_writing(picture, text, font, at=(0.5, 0.15)).save(tmp_path / f"{name}.png")
    prompt = 'a cat and a sign that says "OPEN"'
    judges = ["--verifier", "objects+text", "--detector", f"onnx:{REAL / 'FastestDet.onnx'}"]
    assert main(["rank", str(tmp_path), prompt, *judges]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "cat open.png: 1.000, passed",
        'cat misspelt.png: 0.750, not passed: replace the text "OPNE" by "OPEN" on the sign at the '
        "top",
        'cat.png: 0.500, not passed: add the text "OPEN" on the sign',
        "cup open.png: 0.500, not passed: missing a cat",
        'cup.png: 0.000, not passed: missing a cat; add the text "OPEN" on the sign',
    ]
