"""The record of a judge's errors: rates, intervals, JSON, and which kind a statement is of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reflectionflow_core.cli.judging import errors_of_verifier, kept_key, verifier_key
from reflectionflow_core.judge_errors import (
    KINDS,
    JudgeErrors,
    KindErrors,
    errors_line,
    kind_of,
    wilson,
)
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import ActorChoice
from reflectionflow_core.vlm.judge_check import JudgeChecker, judge_text
from reflectionflow_core.vlm.kept_errors import error_key, keep_errors, kept_errors, measured_errors

ERRORS = JudgeErrors(
    "endpoint:mine",
    (KindErrors("number", 10, 4, 12, 1), KindErrors("colour", 10, 0, 10, 0)),
    correlation=0.5,
    asked_again=10,
    wrong_before=5,
    wrong_again=3,
    questions=52,
    pictures="rendered scenes",
)


def test_rates_and_intervals_are_those_of_the_counts() -> None:
    number = ERRORS.of("number")
    assert number.miss_rate == 0.4 and number.false_alarm_rate == 1 / 12
    assert number.miss_interval == pytest.approx((0.1682, 0.6873), abs=1e-4)
    assert ERRORS.total == KindErrors("other", 20, 4, 22, 1)


def test_a_kind_that_was_not_measured_has_no_rate() -> None:
    other = ERRORS.of("position")
    assert other.miss_rate is None and other.false_alarm_rate is None
    assert other.miss_interval == (0.0, 1.0) == wilson(0, 0)


def test_errors_are_read_back_from_json_as_they_were() -> None:
    assert JudgeErrors.from_data(json.loads(json.dumps(ERRORS.data()))) == ERRORS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"format": None}, "format None"),
        ({"secret": 1}, "no field 'secret'"),
        ({"correlation": 2.0}, "not between -1 and 1"),
        ({"asked_again": True}, "asked_again is True"),
        ({"unanswered": -1}, "negative"),
        ({"wrong_again": 6}, "more answers were wrong again"),
        ({"kinds": 3}, "kinds is not a list"),
        ({"kinds": ["number"]}, "not an object"),
        ({"kinds": [{"kind": "taste"}]}, "none of thing"),
        ({"kinds": [{"kind": "number"}, {"kind": "number"}]}, "twice"),
        ({"kinds": [{"kind": "number", "wrong_shown": 1, "missed": 2}]}, "2 of 1 number missed"),
        ({"kinds": [{"kind": "number", "false_alarms": 1}]}, "1 of 0 number false alarms"),
    ],
)
def test_what_is_no_such_record_is_refused_in_a_sentence(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match="Measure them again") as caught:
        JudgeErrors.from_data({**ERRORS.data(), **change})
    assert words in str(caught.value)


def test_errors_are_kept_by_judge_and_a_damaged_entry_is_told(tmp_path: Path) -> None:
    assert kept_errors(tmp_path, "one") == (None, "")
    assert keep_errors(tmp_path, "one", ERRORS) == ""
    assert kept_errors(tmp_path, "one") == (ERRORS, "")
    assert kept_errors(tmp_path, "other") == (None, "")
    file = tmp_path / "judge_errors.json"
    file.write_text(json.dumps({"one": {"format": 7}}))
    found, notice = kept_errors(tmp_path, "one")
    assert found is None and "format 7" in notice


def test_a_damaged_table_is_put_aside_and_nothing_in_it_is_lost(tmp_path: Path) -> None:
    keep_errors(tmp_path, "one", ERRORS)
    file = tmp_path / "judge_errors.json"
    damaged = file.read_bytes()[:-3]
    file.write_bytes(damaged)
    assert "judge_errors.json.damaged" in keep_errors(tmp_path, "two", ERRORS)
    assert (tmp_path / "judge_errors.json.damaged").read_bytes() == damaged
    assert kept_errors(tmp_path, "two") == (ERRORS, "")


def test_a_judge_with_other_eyes_has_errors_of_its_own() -> None:
    plain = ActorChoice(verifier="objects", detector="facebook/detr-resnet-50")
    coloured = replace(plain, colour_judge="openai/clip-vit-large-patch14")
    assert len({verifier_key(plain), verifier_key(coloured)}) == 2
    keys = {kept_key("some/model", dtype) for dtype in (None, "bf16", "nf4")}
    assert len(keys) == 2


def test_errors_of_a_judge_are_not_used_behind_a_screen() -> None:
    recorded, alone = {"errors": ERRORS.data()}, ActorChoice(verifier="checklist")
    assert errors_of_verifier(recorded, alone) == ERRORS
    assert errors_of_verifier(recorded, replace(alone, screen="objects")) is None


def test_a_report_says_what_the_judge_misses_the_worst_first() -> None:
    said = "This judge misses 4 of 10 wrong counts, and calls 1 of 22 right statements wrong."
    assert errors_line(ERRORS) == said
    assert judge_text({"errors": ERRORS.data()}) == said
    both = judge_text({"sees": True, "calls": 5, "errors": ERRORS.data()})
    assert both.startswith("sees yes") and both.endswith(f". {said}")
    assert "format 9" in judge_text({"errors": {"format": 9}})
    worst = JudgeErrors("a", (KindErrors("thing", 9, 1), KindErrors("number", 8, 2, 3, 1)))
    assert errors_line(worst) == (
        "This judge misses 2 of 8 wrong counts, 1 of 9 wrong things, and calls 1 of 3 right "
        "statements wrong."
    )
    assert errors_line(JudgeErrors("a", (KindErrors("thing", 9),))).startswith(
        "This judge misses none of 9 wrong statements"
    )


def test_a_search_finds_the_errors_of_its_verifier_or_of_its_model_asked_plainly(
    tmp_path: Path,
) -> None:
    check = JudgeChecker(tmp_path)
    assert check.measured("vlm", "checklist") == ({}, [])
    keep_errors(tmp_path, error_key("vlm"), ERRORS)
    assert check.measured("vlm", "checklist") == ({"errors": ERRORS.data()}, [])
    assert check.measured("vlm", "yes-no") == ({"errors": ERRORS.data()}, [])
    other = JudgeErrors("endpoint:mine, yes-no")
    keep_errors(tmp_path, error_key("vlm", "yes-no"), other)
    assert check.measured("vlm", "yes-no") == ({"errors": other.data()}, [])
    assert check.measured("vlm", "checklist+objects") == ({"errors": ERRORS.data()}, [])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a cup", "thing"),
        ("There is a wine glass.", "thing"),
        ("Is there a dog?", "thing"),
        ("missing a bench", "thing"),
        ("two red cups", "number"),
        ("missing two red cups", "number"),
        ("Are there exactly 3 dogs?", "number"),
        ("extra cup", "number"),
        ("the cup is red", "colour"),
        ("cup is not red", "colour"),
        ("two cups are red", "colour"),
        ("no cup is red", "colour"),
        ("a red cup is there", "colour"),
        ("a purple triangle", "colour"),
        ("a blue cup left of a plate", "position"),
        ("cup is not left of the plate", "position"),
        ("Is the cat on the table?", "position"),
        ("the red cup is big", "other"),
        ("two red cups are visible", "number"),
        ("the cup is made of wood", "other"),
        ("watercolour style", "other"),
        ("the dog is wearing a hat", "other"),
        ("how many cups are red", "number"),
        ("exactly two cups are red", "number"),
        ("only one cup is red", "number"),
        ("all three cups are red", "number"),
        ("what colour is the cup", "colour"),
        ("the red cup is missing", "colour"),
        ("two circles are small", "other"),
        ('a sign that says "24 RED HATS"', "other"),
        ('a 24" screen left of a 6" cup', "position"),
    ],
)
def test_a_statement_has_the_kind_of_what_it_says(text: str, kind: str) -> None:
    assert kind in KINDS and kind_of(text) == kind


def test_of_several_verifiers_the_errors_of_a_measured_one_are_found(tmp_path: Path) -> None:
    keep_errors(tmp_path, error_key("model", "yes-no"), ERRORS)
    for verifier in ("yes-no", "1*yes-no", "rubric+2*yes-no"):
        assert measured_errors(tmp_path, "model", verifier) == (ERRORS, [])
    assert measured_errors(tmp_path, "model", "rubric") == (None, [])
