"""A real detector on real photographs: `pytest tests/core/test_objects_real.py`.

They lie outside the repository, in ../shared/real.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from reflectionflow_core.cli import main
from reflectionflow_core.detection.load import load_objects
from reflectionflow_core.detection.objects import ObjectsVerifier
from reflectionflow_core.evidence import place_in_words
from reflectionflow_core.identity import verifier_identity, weights_of
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.writers.template import TemplateWriter

REAL = Path(__file__).parents[3] / "shared" / "real"
DETECTOR = REAL / "FastestDet.onnx"
if not DETECTOR.is_file():
    pytest.skip(f"NOT TESTED ON REAL PHOTOGRAPHS: {DETECTOR} is not there", allow_module_level=True)
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def judge() -> ObjectsVerifier:
    return load_objects(f"onnx:{DETECTOR}")


def photograph(name: str) -> Image.Image:
    return Image.open(REAL / f"{name}.png")


def verdict_on(judge: ObjectsVerifier, prompt: str, name: str) -> Verdict:
    return judge.verify(prompt, [photograph(name)])[0]


@pytest.mark.parametrize(
    ("prompt", "name", "unmet", "edit"),
    [
        ("a photo of a cat", "chelsea", (), ""),
        ("exactly one cat", "chelsea", (), ""),
        ("a cat and no dogs", "chelsea", (), ""),
        ("a brown cat", "chelsea", (), ""),
        ("two cats", "chelsea", ("missing a cat",), "add a cat"),
        ("a dog", "chelsea", ("missing a dog",), "add a dog"),
        ("no cats", "chelsea", ("extra cat",), "remove the cat"),
        ("a blue cat", "chelsea", ("cat is not blue",), "recolor the cat blue"),
        (
            "a cat left of a cup",
            "chelsea",
            ("missing a cup", "cat is not left of the cup"),
            "add a cup and move the cat left of the cup",
        ),
        ("a photo of a cup", "coffee", (), ""),
        ("a cup and a cat", "coffee", ("missing a cat",), "add a cat"),
        ("a person", "astronaut", (), ""),
        ("one person and no cats", "astronaut", (), ""),
        ("at least two people", "astronaut", ("missing a person",), "add a person"),
    ],
)
def test_real_photographs_are_judged_right(
    judge: ObjectsVerifier, prompt: str, name: str, unmet: tuple[str, ...], edit: str
) -> None:
    verdict = verdict_on(judge, prompt, name)
    assert (verdict.unmet, verdict.passed) == (unmet, not unmet)
    assert TemplateWriter(12).write(verdict.unmet) == edit


def test_the_boxes_are_where_the_things_are(judge: ObjectsVerifier) -> None:
    (cat,) = verdict_on(judge, "a cat", "chelsea").evidence
    assert cat.text == "cat" and cat.box and cat.sureness and cat.sureness > 0.8
    # The cat's face fills the photograph but for its right edge.
    assert cat.box[0] < 0.1 and cat.box[2] > 0.8
    (person,) = verdict_on(judge, "a person", "astronaut").evidence
    assert person.box and person.box[2] < 0.8  # the rocket is at her left
    assert place_in_words(person.box) == ""


@pytest.mark.parametrize("size", [(1, 1), (8000, 6000), (16, 900)])
def test_any_size_is_judged(judge: ObjectsVerifier, size: tuple[int, int]) -> None:
    verdict = judge.verify("a cat", [photograph("chelsea").resize(size)])[0]
    assert verdict.passed is (size[0] == 8000)


def test_white_pictures_show_nothing(judge: ObjectsVerifier) -> None:
    (verdict,) = judge.verify("a cat", [Image.new("RGB", (512, 512), "white")])
    assert verdict.unmet == ("missing a cat",)


def test_words_that_it_does_not_know_are_told(judge: ObjectsVerifier) -> None:
    with pytest.raises(InputError, match="does not know 'zeppelin'"):
        judge.verify("a zeppelin over a boat and a cat", [])
    for known in ("a sofa", "a couch", "an airplane", "a potted plant", "people", "a tv"):
        assert judge.verify(known, []) == []


def test_a_search_on_the_command_line_is_judged_by_it(tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    command = ["run", "a photo of a cat", "--out", str(out), "--verifier", "objects", "--quiet"]
    shown = ["--strategy", "noise", "--drafts", "1", "--depth", "0"]
    assert main([*command[:-1], "--detector", f"onnx:{DETECTOR}", *shown]) == 0
    (line,) = (out / "history.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["unmet"] == ["missing a cat"] and record["evidence"][0]["box"] is None
    settings = (out / "run.json").read_text()
    assert f"onnx:{DETECTOR}" in settings and weights_of(f"onnx:{DETECTOR}") in settings
    assert weights_of(f"onnx:{DETECTOR}") == weights_of(str(DETECTOR)) != ""
    assert main([*command[:-1], "--detector", f"onnx:{DETECTOR}", *shown, "--resume"]) == 0
    assert verifier_identity(f"objects:onnx:{DETECTOR}").startswith("1*objects:")
    capsys.readouterr()
