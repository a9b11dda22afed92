"""Pictures and weights that people have by accident, and the judges `objects` and `text`.

    pytest tests/core/test_judges_bad_input.py

With the OCR that the extra `text` brings; the detector and its photographs are in ../shared/real.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps
from signs import font_files, with_writing

from reflectionflow_core.cli import main
from reflectionflow_core.detection.load import load_objects
from reflectionflow_core.detection.routed import RoutedVerifier
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.verifiers.text.verifier import TextVerifier

pytest.importorskip("rapidocr", reason="the extra text is not installed: pip install rapidocr")

REAL = Path(__file__).parents[3] / "shared" / "real"
DETECTOR = REAL / "FastestDet.onnx"
if not DETECTOR.is_file():
    pytest.skip(f"NOT TESTED ON REAL PHOTOGRAPHS: {DETECTOR} is not there", allow_module_level=True)
pytest.importorskip("onnxruntime")

FONT = next(file for file in font_files() if file.name == "DejaVuSans-Bold.ttf")
SIGN = 'a cat and a sign that says "OPEN"'
WORDS = ("SALE", "BREAD", "MILK", "HOTEL", "TAXI", "BANK", "CAFE", "ZOO", "PARK", "BUS")


@pytest.fixture(scope="module")
def both() -> RoutedVerifier:
    return RoutedVerifier(load_objects(f"onnx:{DETECTOR}"), TextVerifier())


def judged(both: RoutedVerifier, image: Image.Image, prompt: str = SIGN) -> Verdict:
    return both.verify(prompt, [image])[0]


def cat() -> Image.Image:
    return Image.open(REAL / "chelsea.png").convert("RGB")


def with_sign(text: str = "OPEN") -> Image.Image:
    return with_writing(cat(), text, FONT, at=(0.5, 0.15))


def page(texts: list[str], columns: int, size: tuple[int, int], height: int = 16) -> Image.Image:
    """Texts in rows, black on white."""
    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(str(FONT), height)
    for number, text in enumerate(texts):
        x, y = number % columns * (size[0] // columns) + 10, number // columns * 2 * height + 10
        draw.text((x, y), text, "black", font)
    return image


@pytest.mark.parametrize(
    ("image", "unmet"),
    [
        (Image.new("RGB", (1, 1)), ("missing a cat", 'add the text "OPEN" on the sign')),
        (
            Image.new("RGB", (512, 512), "white"),
            ("missing a cat", 'add the text "OPEN" on the sign'),
        ),
        (with_sign(), ()),
        (with_sign().resize((8000, 5320)), ()),
        (with_sign("OPNE"), ('replace the text "OPNE" by "OPEN" on the sign at the top',)),
        (
            ImageOps.mirror(with_sign()),
            ('mirror the writing on the sign at the top, so that it reads "OPEN"',),
        ),
    ],
    ids=["1 x 1", "all white", "as asked", "8000 pixels", "misspelt", "mirrored"],
)
def test_every_size_and_every_way_round_gets_a_right_verdict(
    both: RoutedVerifier, image: Image.Image, unmet: tuple[str, ...]
) -> None:
    verdict = judged(both, image)
    assert verdict.unmet == unmet and verdict.passed is (not unmet)
    for seen in verdict.evidence:
        assert seen.box is None or seen.pixels(image.size)


def test_letters_below_each_other_are_one_word(both: RoutedVerifier) -> None:
    picture = Image.new("RGB", (420, 760), "white")
    picture.paste(cat().resize((300, 200)), (110, 20))
    draw, font = ImageDraw.Draw(picture), ImageFont.truetype(str(FONT), 70)
    for row, letter in enumerate("HOTEL"):
        draw.text((210, 290 + 90 * row), letter, "black", font, anchor="mm")
    assert judged(both, picture, 'a cat and a sign that says "HOTEL"').passed


@pytest.mark.parametrize("text", ["שלום", "مرحبا", "नमस्ते", "ОТКРЫТО"])
def test_letters_that_the_ocr_does_not_know_are_told_before_a_picture(
    both: RoutedVerifier, text: str
) -> None:
    with pytest.raises(
        InputError, match="letters or signs that the verifier text cannot read"
    ) as told:
        both.verify(f'a cat and a sign that says "{text}"', [])
    assert str(told.value).count(". ") <= 2


@pytest.mark.parametrize("text", ["שלום עולם", "ОТКРЫТО"])
def test_such_writing_in_a_picture_is_not_taken_for_the_wanted_one(
    both: RoutedVerifier, text: str
) -> None:
    foreign = page([text], 1, (600, 200), height=72)
    verdict = judged(both, foreign, 'a sign that says "OPEN"')
    assert verdict.passed is False and "OPEN" in verdict.unmet[0]
    assert judged(both, foreign, "a wall without any text").passed is False


def test_one_text_among_two_hundred_is_found_and_all_are_too_many_where_none_is_wanted(
    both: RoutedVerifier,
) -> None:
    dice = random.Random(0)
    texts = [f"{dice.choice(WORDS)} {number}" for number in range(200)]
    texts[77] = "OPEN"
    crowded = page(texts, 8, (1400, 900))
    right = judged(both, crowded, 'a page that says "OPEN"')
    assert right.passed, right.unmet
    (seen,) = right.evidence
    left, top, *_ = seen.pixels(crowded.size) or (0, 0, 0, 0)
    assert abs(left - (77 % 8 * 175 + 10)) < 20 and abs(top - (77 // 8 * 32 + 10)) < 20
    none = judged(both, crowded, "a page without any text")
    assert none.passed is False and len(none.unmet) == 6
    assert none.unmet[-1].endswith(" other places")


def test_of_an_animated_file_the_first_picture_counts(tmp_path: Path, capsys) -> None:
    frames = [with_sign(), cat()]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    judges = ["--verifier", "objects+text", "--detector", f"onnx:{DETECTOR}"]
    assert main(["rank", str(tmp_path), SIGN, *judges]) == 0
    assert capsys.readouterr().out.startswith("moving.gif: 1.000, passed")


def detector_of(folder: Path, names: str) -> str:
    shutil.copy(DETECTOR, folder / "other.onnx")
    (folder / "other.names").write_text(names)
    return f"onnx:{folder / 'other.onnx'}"


def test_a_detector_of_other_classes_says_what_it_does_not_know(tmp_path: Path) -> None:
    judge = load_objects(detector_of(tmp_path, "\n".join(f"ship {n}" for n in range(80))))
    with pytest.raises(InputError, match="does not know 'cat'"):
        judge.verify("a cat", [])


def test_names_of_another_detector_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"outputs are not known .*for 2 classes\)\. Check that"):
        load_objects(detector_of(tmp_path, "cat\ndog"))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 50])
def test_weights_that_are_none_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.onnx").write_bytes(content)
    (tmp_path / "other.names").write_text("cat")
    with pytest.raises(
        InputError, match=r"not an ONNX model that onnxruntime can read.*Download it"
    ):
        load_objects(f"onnx:{tmp_path / 'other.onnx'}")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no"):
        load_objects(f"onnx:{tmp_path / 'none.onnx'}")
