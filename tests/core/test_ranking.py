"""`reflectionflow rank` and its sheet and page: `pytest tests/core/test_ranking.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from core.test_objects import BLUE, GREEN, RED, drawn
from PIL import Image, ImageDraw

from reflectionflow_core.cli import main, ranking
from reflectionflow_core.evidence import Evidence
from reflectionflow_core.judge_errors import JudgeErrors, KindErrors
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.record import Candidate, Verdict
from reflectionflow_core.report import ranking as report_ranking
from reflectionflow_core.report.marks import marked
from reflectionflow_core.report.ranking import Ranking, ranking_page, ranking_sheet, ranking_text
from reflectionflow_core.verdict import best_first

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
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sheet.png").write_bytes(b"of somebody")
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
    assert page.count('<i class="fault"') == len(faults) > 0
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
    said = "This judge misses 4 of 10 wrong counts, and calls 1 of 10 right statements wrong."
    assert f"{known}: {said}" in capsys.readouterr().err
    assert f"verifier exact · {said}" in (out / "ranking.html").read_text()


def test_a_picture_that_a_screen_left_out_has_no_score_of_the_verifier(
    folder: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    screen = ["--screen", "noisy", "--verifier-error", "0", "--shortlist", "1"]
    words = ["rank", str(folder), "a red circle", "--verifier", "exact", *screen]
    assert main([*words, "--out", str(out)]) == 0
    first, *others = capsys.readouterr().out.splitlines()[:3]
    assert first.startswith("both <b>.png: 0.") or first.startswith("both <b>.png: 1.")
    for line in others:
        assert line.endswith(": not looked at: 1 of its batch rank higher by noisy")
    page = (out / "ranking.html").read_text()
    assert page.count("<strong>not looked at</strong>") == 2 and "<strong>-" not in page


def test_a_damaged_file_is_left_out_and_said(folder: Path, capsys) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (folder / "phone.HEIC").write_bytes(b"nothing")
    assert main(["rank", str(folder), "a red circle"]) == 0
    captured = capsys.readouterr()
    assert "broken.png is left out: it" in captured.err
    assert "phone.HEIC is left out: it is not PNG, JPEG" in captured.err
    assert "broken" not in captured.out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither")
def test_a_link_that_leads_nowhere_is_named_and_a_name_steers_no_terminal(folder, capsys) -> None:
    (folder / "moved.png").symlink_to(folder / "gone.png")
    (folder / "\x1b[2Jgreen.png").write_bytes(b"nothing")
    assert main(["rank", str(folder), "a red circle"]) == 0
    said = capsys.readouterr().err
    assert "moved.png is left out: it cannot be read (No such file" in said
    assert "\ufffd[2Jgreen.png is left out" in said and "\x1b" not in said


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["{}/none", "a red circle"], "There is no folder"),
        (["{}/pictures/blue.png", "a red circle"], "is a file, not a folder"),
        (["{}", "a red circle"], "has no pictures"),
        ([" ", "a red circle"], "The name of the folder is empty"),
        (["{}/pictures", "a red circle", "--out", ""], "The name of the folder is empty"),
        (["{}/pictures", " "], "The prompt is empty"),
        (["{}/pictures", "a dog"], "The miniature does not understand"),
        (["{}/pictures", "a red circle", "--ground"], "--ground has no effect"),
        (["{}/pictures", "a cat", "--verifier", "objects"], "needs a detector"),
        (["{}/pictures", "a cat", "--width", "2"], "--width"),
        (
            ["{}/pictures", "a red circle", "--screen", "noisy", "--shortlist", "3"],
            "A shortlist of 3 leaves out none of the 3 pictures that are judged together. Give a "
            "smaller --shortlist, or remove --screen.",
        ),
        (["{}/pictures", "a red circle", "--out", "{}"], "holds a run with a sheet of its own"),
        (["{}/pictures", "a red circle", "--out", "{}/mine"], "holds a sheet.png of something"),
        (["{}/pictures", "a red circle", "--out", "{}/pictures"], "holds the pictures to rank"),
        (["{}/pictures", "a red circle", "--out", "{}/run.json"], "is a file. Choose a folder."),
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


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn on a sheet."""
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def noted(self: ImageDraw.ImageDraw, xy: tuple[int, int], text: str, *more, **options) -> None:
        texts.append(text)
        draw(self, xy, text, *more, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    return texts


def test_a_sheet_of_very_many_pictures_shows_the_best_of_them(
    written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_ranking, "MOST", 2)
    ranking_sheet(boxed())
    assert "the best 2 of 3 pictures" in written
    assert {"three", "one"} <= {*written} and "two" not in written


def test_sheet_and_page_say_what_boxes_mean_and_tell_files_of_long_names_apart(
    written: list[str],
) -> None:
    grey, cat = Image.new("RGB", (300, 300)), Evidence("cat", (0.1, 0.1, 0.4, 0.4))
    names = [f"{'a very long prompt ' * 8}_{number:05}_.png" for number in range(3)]
    verdicts = [Verdict(0.0, False, unmet=("cat",), evidence=(cat,)), Verdict(1.0, True)]
    ranking = Ranking.of("a cat", names, [grey] * 3, [*verdicts, Verdict(1.0, evidence=(cat,))])
    ranking_sheet(ranking)
    shown = " ".join(written)
    assert "Boxes: red what is wrong, green what is right." in shown
    assert all(name[-10:] in shown for name in names)
    for words in ("what is wrong", "what is right"):
        assert f">{words}</b>" in ranking_page(ranking)


def test_of_equal_scores_the_surer_one_is_first() -> None:
    cat = (0.1, 0.1, 0.4, 0.4)
    verdicts = [Verdict(1.0, evidence=(Evidence("cat", cat, s),)) for s in (0.6, 0.9, 0.6)]
    order = [Verdict.unjudged("Down."), Verdict(0.5, False), *verdicts]
    assert best_first(order) == [3, 2, 4, 1, 0]


def test_a_place_is_said_once() -> None:
    text = 'remove the text "SALE" at the top left'
    seen = Evidence(text, (0.0, 0.0, 0.2, 0.2), 0.9)
    cat = Evidence("cat", (0.0, 0.0, 0.2, 0.2))
    painted = Candidate(
        Image.new("RGB", (9, 9)), "", 0, Verdict(0, unmet=(text,), evidence=(seen, cat))
    )
    assert [mark.words for mark in marked(painted)] == [
        "cat, at the top left",
        f"{text}, 90 % sure",
    ]


def test_large_folders_are_judged_in_parts_and_keep_the_sizes_of_their_files(
    folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(ranking, "BATCH", 2)
    monkeypatch.setattr(ranking, "BATCH_PIXELS", 500_000)
    asked: list[int] = []
    shown: list[Image.Image] = []
    exact = ExactVerifier.verify

    def counted(self, prompt: str, images: list[Image.Image], *more) -> list[Verdict]:
        asked.append(len(images))
        shown.extend(images)
        return exact(self, prompt, images, *more)

    monkeypatch.setattr(ExactVerifier, "verify", counted)
    drawn(RED).resize((1000, 800)).save(folder / "a large one.png")
    assert main(["rank", str(folder), "a red circle", "--out", str(tmp_path / "out")]) == 0
    largest = max(image.size for image in shown)
    assert asked == [0, 1, 2, 1]  # first whether it understands the prompt
    assert largest == (1000, 800)  # a judge that compares pictures keeps them, and not a copy
    assert "picture 3 of 4: best " in capsys.readouterr().err
    page = (tmp_path / "out" / "ranking.html").read_text()
    assert "1000 x 800" in page and 'width="640"' in page


def test_a_box_is_drawn_around_small_writing_not_over_it() -> None:
    small, box = Image.new("RGB", (200, 200), "white"), (0.3, 0.4, 0.5, 0.44)
    small.paste("black", (60, 80, 100, 88))
    text = Evidence('the text "OPEN"', box)
    sheet = ranking_sheet(Ranking.of("a sign", ["a"], [small], [Verdict(1.0, evidence=(text,))]))
    pixels = np.asarray(sheet)
    assert (pixels == RIGHT).all(-1).any()
    black = np.argwhere((pixels == 0).all(-1) & (np.arange(sheet.width) < 40 + 224))
    height, width = np.ptp(black, axis=0) + 1
    assert (height, width) == (8, 40)


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
        "cup open.png: 0.500, not passed: missing a cat",
        'cat.png: 0.500, not passed: add the text "OPEN" on the sign',
        'cup.png: 0.000, not passed: missing a cat; add the text "OPEN" on the sign',
    ]


def test_what_macos_puts_beside_a_picture_is_none(tmp_path: Path) -> None:
    for name in ("a.png", "._a.png"):
        (tmp_path / name).write_bytes(b"")
    assert ranking.picture_files(tmp_path) == [tmp_path / "a.png"]
