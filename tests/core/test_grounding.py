"""The checklist asks where faults are: `pytest tests/core/test_grounding.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from scripted_vlm import ScriptedVlm, silent

from reflectionflow_core.cli import main
from reflectionflow_core.evidence import Evidence
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.vlm.interface import Failure, Question

PICTURE = Image.new("RGB", (80, 40))
REQUIREMENTS = {
    "requirements": [
        {"statement": "a cat", "question": "Is there a cat?", "fault": "missing a cat"},
        {"statement": "no dog", "question": "Is there no dog?", "fault": "extra dog"},
    ]
}
RIGHT, DOG = (1.0, 0.0), (0.0, 1.0)


def judge(places: str | Failure, cat: tuple, dog: tuple) -> tuple[ScriptedVlm, ChecklistVerifier]:
    def chat(question: Question) -> str | Failure:
        return json.dumps(REQUIREMENTS) if "Take the prompt apart" in question.text else places

    def choose(question: Question) -> tuple[float, ...]:
        return cat if "cat" in question.text else dog

    vlm = ScriptedVlm(chat, choose)
    return vlm, ChecklistVerifier(vlm, ground=True)


def test_the_boxes_of_faults_come_with_one_more_question_that_is_counted() -> None:
    places = [{"fault": 1, "box": [500, 250, 1000, 750]}, {"fault": 1, "box": [0, 0, 100, 100]}]
    vlm, checklist = judge(json.dumps({"places": places}), RIGHT, DOG)
    (verdict,) = checklist.verify("a cat, no dog", [PICTURE])
    assert verdict.unmet == ("extra dog",)
    assert verdict.evidence == (
        Evidence("extra dog", (0.5, 0.25, 1.0, 0.75)),
        Evidence("extra dog", (0.0, 0.0, 0.1, 0.1)),
    )
    assert checklist.spent == len(vlm.asked) == 4  # apart, two requirements, one place
    assert checklist.calls == 3
    assert vlm.asked[-1].images == (PICTURE,)


def test_a_right_picture_is_not_asked_about() -> None:
    vlm, checklist = judge("", RIGHT, RIGHT)
    (verdict,) = checklist.verify("a cat, no dog", [PICTURE])
    assert verdict.passed and not verdict.evidence and len(vlm.asked) == 3


@pytest.mark.parametrize(
    "places",
    [
        silent(Question("")),
        "I cannot say.",
        json.dumps({"places": [{"fault": 9, "box": [0, 0, 10, 10]}]}),
        json.dumps({"places": [{"fault": 1, "box": [10, 0, 10, 10]}]}),
        json.dumps({"places": [{"fault": 1, "box": [0, 0, 5000, 10]}]}),
        json.dumps({"places": [{"fault": 1, "box_2d": [-5, 10, 20, 30]}]}),
        json.dumps({"places": [{"fault": 1, "box_2d": [None, 10, 20, 30]}]}),
    ],
)
def test_a_model_that_knows_no_places_leaves_the_verdict_as_it_is(places: str | Failure) -> None:
    _, checklist = judge(places, DOG, DOG)
    (verdict,) = checklist.verify("a cat, no dog", [PICTURE])
    assert verdict.unmet == ("missing a cat", "extra dog")
    assert not verdict.evidence


@pytest.mark.parametrize(
    ("name", "box", "seen"),
    [
        ("Qwen2.5-VL-7B-Instruct", [0, 0, 42, 28], (0.0, 0.0, 0.75, 1.0)),  # pixels of 56 x 28
        ("qwen2_5_vl", [0, 0, 500, 1000], (0.0, 0.0, 0.5, 1.0)),  # thousandths all the same
        ("Qwen3-VL-8B", [0, 0, 42, 28], (0.0, 0.0, 0.042, 0.028)),
        ("another", [0, 0, 40, 20], (0.0, 0.0, 0.04, 0.02)),
        ("another", [0.6, 0.55, 0.95, 0.9], (0.6, 0.55, 0.95, 0.9)),
        ("qwen2_5_vl", [0, 0, 1, 1], (0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_boxes_are_read_in_pixels_and_in_thousandths(name: str, box: list, seen: tuple) -> None:
    vlm, checklist = judge(json.dumps({"places": [{"fault": 1, "bbox_2d": box}]}), RIGHT, DOG)
    vlm.model_name = name  # type: ignore[attr-defined]
    (verdict,) = checklist.verify("a cat, no dog", [PICTURE])
    assert [each.box for each in verdict.evidence] == [pytest.approx(seen, abs=1e-3)]
    in_pixels = "56 wide and 28 high" in vlm.asked[-1].text
    assert in_pixels == name.lower().startswith("qwen2")
    assert vlm.asked[-1].images[0].size == ((56, 28) if in_pixels else PICTURE.size)


@pytest.mark.parametrize("name", ["box", "bbox"])
def test_numbers_beyond_a_thousand_are_pixels_of_a_large_picture(name: str) -> None:
    _, checklist = judge(
        json.dumps({"places": [{"fault": 1, name: [0, 0, 1500, 500]}]}), RIGHT, DOG
    )
    (verdict,) = checklist.verify("a cat, no dog", [Image.new("RGB", (2000, 1000))])
    assert verdict.evidence[0].box == (0.0, 0.0, 0.75, 0.5)


def test_a_box_2d_has_its_upper_edge_first() -> None:
    answer = json.dumps({"places": [{"fault": 1, "box_2d": [100, 600, 300, 900]}]})
    (verdict,) = judge(answer, RIGHT, DOG)[1].verify("a cat, no dog", [PICTURE])
    assert verdict.evidence[0].box == (0.6, 0.1, 0.9, 0.3)


def test_without_the_checklist_the_option_is_refused(tmp_path: Path, capsys) -> None:
    assert main(["run", "a red circle", "--out", str(tmp_path / "run"), "--ground"]) == 2
    assert "--ground has no effect without --verifier checklist" in capsys.readouterr().err
