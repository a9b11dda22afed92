"""Broken answers at all three doors, in little; ten thousand of them:

python tests/benchmarks/vlm_answers.py --count 10000
"""

from __future__ import annotations

import pytest
from answer_trial import DOORS, trial
from broken_answers import AROUND, CLOSED, NO_CHOICES, NO_OBJECTS, SLIPS, THOUGHTS, Marked, drawn

from reflectionflow_core.vlm.answers import parse
from reflectionflow_core.vlm.closed import begins_otherwise, said_choice
from reflectionflow_core.vlm.interface import Failure
from reflectionflow_core.vlm.likelihoods import AnswerToken, from_answer

YES_NO = ("yes", "no")
GOOD = '{"mark": 9, "why": "fine", "lacks": []}'


def test_no_broken_answer_crashes_or_is_read_as_something_else_at_any_door() -> None:
    result = trial(900, seed=1)
    assert result.faults == []
    assert {door for door, _ in result.outcomes} == set(DOORS)
    every = {*SLIPS, *AROUND, *CLOSED, *THOUGHTS, *NO_OBJECTS, *NO_CHOICES}
    assert {habit for habit, _ in result.habits} - {"none"} == every


def test_an_answer_is_drawn_from_its_seed_and_place() -> None:
    assert drawn(3, 5) == drawn(3, 5) != drawn(3, 6) != drawn(4, 5)


@pytest.mark.parametrize(
    "cut", ["{", '{"mark": 3, "why": "c', '{"mark": 3', '{"', '{"lacks": ["a"']
)
def test_a_draft_before_an_answer_that_was_cut_is_no_answer(cut: str) -> None:
    assert isinstance(parse(f"First: {GOOD}\nBetter: {cut}", Marked), Failure)


@pytest.mark.parametrize("behind", ["{this} helps.", "Hope it helps {smile", "}", "{}"])
def test_braces_behind_an_answer_are_no_other_one(behind: str) -> None:
    told = parse(f"{GOOD} {behind}", Marked)
    assert isinstance(told, Marked if behind != "Hope it helps {smile" else Failure)


@pytest.mark.parametrize("value", ["true", "false"])
def test_a_truth_value_is_no_number(value: str) -> None:
    assert isinstance(parse(GOOD.replace("9", value), Marked), Failure)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes or no", True),
        ("No / yes", True),
        ("yes or", True),
        ("nothing", True),
        ("不确定", True),
        ("yes", False),
        ("no. yes or no was the question", False),
        ("ye", False),
        ("maybe", False),
    ],
)
def test_a_word_that_only_begins_as_a_choice_decides_nothing(text: str, expected: bool) -> None:
    assert begins_otherwise(text, YES_NO) is expected


@pytest.mark.parametrize("words", [["no", "thing"], ["Yes", " or", " no"], ["不", "确定"]])
def test_tokens_of_an_answer_that_says_neither_give_no_odds(words: list[str]) -> None:
    rivals = (("yes", -0.7), ("no", -0.7))
    assert from_answer([AnswerToken(word, rivals) for word in words], YES_NO) is None
    assert from_answer([AnswerToken("maybe", rivals)], YES_NO) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("opening", ["<think>", "[THINK]", "<reasoning>"])
def test_a_thought_that_was_cut_within_a_box_is_no_answer(opening: str) -> None:
    text = f"<|begin_of_box|>{opening}\nPerhaps Answer: yes, but let me look again<|end_of_box|>"
    assert said_choice(text, YES_NO) is None
