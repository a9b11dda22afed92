"""What a text says to a closed question, in ten languages and in every wrapping."""

from __future__ import annotations

import time

import pytest

from reflectionflow_core.vlm.closed import NO, YES, certain_text, said_choice
from reflectionflow_core.vlm.thoughts import closing_mark, without_thoughts

YES_NO = ("yes", "no")


@pytest.mark.parametrize(("words", "index"), [(YES, 0), (NO, 1)])
def test_yes_and_no_are_known_in_other_languages(words: list[str], index: int) -> None:
    for word in words:
        for said in (word, f"{word}.", f" {word.upper()}", f"**{word}**", f"{word}, 123"):
            assert said_choice(said, YES_NO) == index, said


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("<answer>yes</answer>", 0),
        ("The cup is blue. <answer> No </answer>", 1),
        (r"\boxed{yes}", 0),
        (r"So it follows: $\boxed{\text{No}}$", 1),
        ("Answer: yes", 0),
        ("**Answer:** **No**", 1),
        ("Looking closely, the cup is red. The answer is no.", 1),
        ('{"answer": "yes"}', 0),
        ("Antwort: Ja", 0),
        ("答案：否", 1),
        ("答案是：是", 0),
        ("The cup stands left of the plate.\n\nYes", 0),
        ("I count three cups.\n**No.**", 1),
        ("- Yes", 0),
        ("是的，图中有红色的圆。", 0),
        ("No red circle is there.", 1),
        ("<think>Yes? No, wait.</think>\n\nYes", 0),
        ("first yes, then no</think>no", 1),
        ("<|begin_of_box|>yes<|end_of_box|>", 0),
        ("Si, hay una taza.", 0),
        ("Si bien hay una taza, no es roja.", None),
        ("Y hay una taza roja.", None),
        ("Не уверен.", None),
        ("<think>The sign must say İSTANBUL.\nyes</think>no", 1),
        ("<think>İ\nyes", None),
        ("<unused94>thought\nIs it there?\nyes<unused95>no", 1),
        ("The cup is blue. No.", 1),
        ("I look at it.\nNo, it is blue.", 1),
        ("So, yes.", 0),
        ("**Verdict:** No", 1),
        ('{"result": "no"}', 1),
        ("The answer should be 'no'.", 1),
        ("\u200bNo", 1),
        ("Nej.", 1),
        ("아닙니다.", 1),
        ("I see a red cup.\nNo people are visible.", None),
        ('The sign reads: "No"', None),
        ("yes, no", None),
        ("Yes, but no", None),
        ("No. Yes.", None),
        ("Yes. Wait, actually no.", None),
        ("Yes\n\nIs it blue?\nNo", None),
        ('{"no": 0.1, "yes": 0.9}', None),
        ('{"yes": false}', None),
        ("Yes: 10%, No: 90%", None),
        ("N/A", None),
        ("No issues. The picture shows it all.", None),
        ("Yes, no cup is missing.", 0),
        ("Yes or no", None),
        ("yes/no", None),
        ("Yes and No.", None),
        ("It is not clear whether no cup or a cup is there.", None),
        ("没有红色的圆", None),
        ("nothing", None),
        ("<think>Yes, I would say", None),
        ("The answer is not clear.", None),
        ("", None),
    ],
)
def test_wrapped_answers_are_read_and_none_is_guessed(text: str, index: int | None) -> None:
    assert said_choice(text, YES_NO) == index


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hm. Answer: yes", ""),
        ("Let me see. The answer is no, or", ""),
        ("I count.\nYes", ""),
        (r"So it follows: \boxed{no}", ""),
        ("<think>Answer: yes", ""),
        ("Yes, I would say. But wait: answer: no", "yes"),
        ("**Answer:** **No**, since the cup", "no"),
        ("The final answer is: yes, since", "yes"),
        ("<answer>no", "no"),
        (r"$\boxed{\text{Yes", "yes"),
        ("<think>Hm.</think>I see it. Answer: yes", "I see it. Answer: yes"),
    ],
)
def test_of_a_cut_text_only_the_choice_with_which_it_begins_counts(text: str, said: str) -> None:
    assert certain_text(text, YES_NO, cut=True) == said
    assert certain_text(text, YES_NO, cut=False) == without_thoughts(text)


def test_the_first_and_the_second_picture_have_names() -> None:
    pair = ("first", "second")
    assert said_choice("The first picture shows it better.", pair) == 0
    assert said_choice("Answer: the second", pair) == 1
    assert said_choice("1. I look at both.", pair) is None
    assert said_choice("yes", pair) is None


def test_letters_of_kinds_are_read_where_they_stand_alone() -> None:
    letters = ("A", "B", "C")
    assert said_choice("B", letters) == 1
    assert said_choice("(C) counting", letters) == 2
    assert said_choice("Answer: B: two objects", letters) == 1
    assert said_choice("Because", letters) is None


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>one</think>two", "two"),
        ("<THINK>one</think>two<think>three</think> four", "two four"),
        ("one</think>two", "two"),
        ("<think>one", ""),
        ("one</think><think>two", ""),
        ("two\n<think>one", "two"),
        ("a sign that says <think>", "a sign that says <think>"),
        ("[THINK]one[/THINK]two", "two"),
        ("◁think▷one◁/think▷two", "two"),
        ("<seed:think>one</seed:think>two", "two"),
        ("<think >one</think >two", "two"),
        ("<cot>one</cot>two", "two"),
        ("<|inner_prefix|>one<|inner_suffix|>two", "two"),
        ("<mm:think>one</mm:think>two", "two"),
        ("<longcat_think>one</longcat_think>\ntwo", "two"),
        ("İ<think>one</think>two\n<think>three", "İtwo"),
        (
            "<|begin_of_thought|>one<|end_of_thought|>\n<|begin_of_solution|>two"
            "<|end_of_solution|>",
            "two",
        ),
        ("<|channel|>analysis<|message|>one<|end|>", ""),
        (
            "<|channel|>analysis<|message|>one<|end|><|start|>assistant"
            "<|channel|>final<|message|>two<|return|>",
            "two",
        ),
        ("<|START_THINKING|>one<|END_THINKING|><|START_RESPONSE|>two<|END_RESPONSE|>", "two"),
        ("two", "two"),
    ],
)
def test_a_thought_is_no_part_of_an_answer(text: str, rest: str) -> None:
    assert without_thoughts(text) == rest


def test_a_prompt_that_opens_a_thought_is_known() -> None:
    assert closing_mark("<|assistant|>\n<think>\n") == "</think>"
    assert closing_mark("[THINK]") == "[/THINK]"
    assert closing_mark("<|assistant|>\n<think>\n\n</think>\n\n") == ""
    assert closing_mark("What does <think> mean?<|assistant|>\n") == ""


@pytest.mark.parametrize("part", ["<think>", "</think>", "<|channel|>a", "answer is ", "** ", "["])
def test_long_texts_of_marks_are_read_in_a_moment(part: str) -> None:
    began = time.thread_time()
    said_choice(part * 40_000, YES_NO)
    assert time.thread_time() - began < 3
