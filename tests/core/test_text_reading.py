"""The verifier `text` with its real reader, on signs that are rendered here."""

from __future__ import annotations

import ast
import importlib
import re
import socket
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from signs import font_files, texture, with_writing

from reflectionflow_core.identity import digest, identity, ocr_identity
from reflectionflow_core.record import Verdict
from reflectionflow_core.registry import ActorChoice, build_verifier
from reflectionflow_core.verifiers.text import reading

pytest.importorskip("rapidocr", reason="the extra text is not installed: pip install rapidocr")

FONT = next(file for file in font_files() if file.name == "DejaVuSans-Bold.ttf")
REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
WHITE = Image.new("RGB", (512, 512), "white")


@pytest.fixture(scope="module")
def verifier():
    return build_verifier(ActorChoice(verifier="text"))


@pytest.fixture
def verdict_on(verifier, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the reader wanted the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    def judge(prompt: str, image: Image.Image) -> Verdict:
        return verifier.verify(prompt, [image])[0]

    return judge


def sign(text: str, ground: str = "bricks", **how) -> Image.Image:
    return with_writing(texture(ground, (512, 512), 3), text, FONT, seed=1, **how)


@pytest.mark.parametrize("ground", ["bricks", "wood", "noise"])
def test_a_sign_on_a_texture_is_read(verdict_on, ground: str) -> None:
    verdict = verdict_on('a sign that says "Open 24 Hours"', sign("OPEN\n24 HOURS", ground))
    assert verdict.passed, verdict
    left, top, right, bottom = verdict.evidence[0].pixels((512, 512))
    assert left < 256 < right and top < 256 < bottom


def test_a_misspelt_sign_is_told_with_its_place(verdict_on) -> None:
    verdict = verdict_on('a sign that says "OPEN"', sign("OPNE", at=(0.2, 0.12)))
    assert verdict.unmet == ('replace the text "OPNE" by "OPEN" on the sign at the top left',)
    assert verdict.evidence[0].sureness > 0.9


def test_an_empty_wall_has_no_text_and_a_mirrored_sign_has_one(verdict_on) -> None:
    empty = verdict_on('a sign that says "WELCOME"', texture("clouds", (512, 512), 3))
    assert empty.unmet == ('add the text "WELCOME" on the sign',)
    assert empty.explanation == "No text was found."
    mirrored = verdict_on('a sign that says "WELCOME"', ImageOps.mirror(sign("WELCOME", "plain")))
    assert mirrored.unmet == (
        'mirror the writing on the sign in the middle, so that it reads "WELCOME"',
    )


def test_letters_below_each_other_and_a_turned_sign_are_read(verdict_on) -> None:
    assert verdict_on('a neon sign "HOTEL"', sign("H\nO\nT\nE\nL", "plain", height=40)).passed
    assert verdict_on('a sign that says "HOTEL"', sign("HOTEL", "plain", angle=20)).passed


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (2, 120)),
        Image.new("L", (120, 2)),
        Image.new("1", (64, 64)),
        Image.new("CMYK", (64, 64)),
        Image.new("RGBA", (64, 64), (0, 0, 0, 0)),
        WHITE,
    ],
    ids=lambda image: f"{image.mode} {image.size}",
)
def test_pictures_of_any_size_and_mode_without_writing_have_none(verdict_on, image) -> None:
    assert verdict_on("a wall without any text", image).passed


def test_a_transparent_picture_is_read_as_it_is_shown_on_white(verdict_on) -> None:
    clear = Image.new("RGBA", (512, 512), (0, 0, 0, 0))
    letters = with_writing(WHITE, "OPEN", FONT, height=80, ink=(0, 0, 0))
    clear.putalpha(ImageOps.invert(letters.convert("L")))
    assert verdict_on('a sign that says "OPEN"', clear).passed


def test_a_very_large_picture_is_shrunk_and_its_boxes_are_its_own(verdict_on) -> None:
    large = with_writing(Image.new("RGB", (4000, 2000), "white"), "OPEN", FONT, height=450)
    verdict = verdict_on('a sign that says "OPEN"', large)
    left, top, right, bottom = verdict.evidence[0].pixels(large.size)
    assert verdict.passed and 1000 < left < 2000 < right < 3000 and top < 1000 < bottom
    missing = verdict_on('a sign that says "SHUT"', Image.new("RGB", (1700, 500), "white"))
    assert "shrunk to 1600 pixels; smaller writing is not seen" in missing.explanation


def test_it_reads_on_a_photograph(verdict_on) -> None:
    if not REAL.is_dir():
        pytest.skip(f"no photographs: {REAL} is not there")
    photograph = Image.open(REAL / "coffee.png")
    assert verdict_on("a cup of coffee, no text", photograph).passed
    written = with_writing(photograph, "COFFEE", FONT, at=(0.5, 0.15))
    assert verdict_on('a cup with the word "COFFEE"', written).passed
    assert verdict_on('a cup with the word "COFEE"', written).passed is False


def test_a_run_knows_the_reader_and_its_weights() -> None:
    version, files = reading.installed()
    assert re.fullmatch(r"rapidocr \d+\.\d+.*", version) and len(files) == 3
    known = identity(ActorChoice(verifier="exact", gate="text"))["ocr"]
    assert known == ocr_identity() == " ".join([version, *map(digest, files)])
    assert "ocr" not in identity(ActorChoice(verifier="exact"))


def test_every_part_of_the_reader_that_is_checked_for_can_be_imported() -> None:
    for name in reading.NEEDED:
        importlib.import_module(name)


def test_the_extra_brings_what_rapidocr_needs_but_no_opencv_that_would_replace_another() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^text = (\[.*?\])", project, re.MULTILINE | re.DOTALL)
    assert listed
    extra = {name_of(line) for line in ast.literal_eval(listed[1])}
    needed = {name_of(line) for line in metadata.requires("rapidocr") or () if "extra" not in line}
    everywhere = {"numpy", "pillow"}  # belong to whoever runs us
    assert {name for name in needed if name.startswith("opencv")} == needed - extra - everywhere
    assert not any("opencv" in name or name == "rapidocr" for name in extra)


def name_of(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement.lower())[0]


def test_weights_that_are_missing_are_named_and_none_is_downloaded(monkeypatch, tmp_path) -> None:
    import rapidocr

    monkeypatch.setattr(rapidocr.__spec__, "origin", str(tmp_path / "__init__.py"))
    with pytest.raises(ValueError, match=r"has no weights \*_det_\*\.onnx .*Install it again"):
        reading.load_reader()
