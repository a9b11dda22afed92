"""Plain prompts taken apart by rules: `pytest tests/core/test_object_prompts.py`."""

from __future__ import annotations

import pytest

from reflectionflow_core.detection.prompts import NotPlainError, Wanted, as_task, wanted_by
from reflectionflow_core.detection.rules import Need
from reflectionflow_core.detection.vocabulary import class_numbers, knows
from reflectionflow_core.detection.words import plural, singular
from reflectionflow_core.record import InputError


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a photo of a cat", [Wanted("cat")]),
        ("A picture of two cats.", [Wanted("cat", 2, 2)]),
        ("one cat", [Wanted("cat", 1, 1)]),
        ("a single wine glass", [Wanted("wine glass", 1, 1)]),
        ("dogs", [Wanted("dog", 2)]),
        ("exactly 3 knives", [Wanted("knife", 3, 3)]),
        ("at least two people", [Wanted("person", 2)]),
        ("at most three red buses", [Wanted("bus", 0, 3, "red")]),
        ("more than two boxes", [Wanted("box", 3)]),
        ("fewer than three sheep", [Wanted("sheep", 0, 2)]),
        ("no more than one dog", [Wanted("dog", 0, 1)]),
        ("a cat and no dogs", [Wanted("cat"), Wanted("dog", 0, 0)]),
        ("a cat without a dog", [Wanted("cat"), Wanted("dog", 0, 0)]),
        ("a cat without any dogs", [Wanted("cat"), Wanted("dog", 0, 0)]),
        ("a cat, no dogs or cows", [Wanted("cat"), Wanted("dog", 0, 0), Wanted("cow", 0, 0)]),
        ("no dogs nor cows, a cat", [Wanted("dog", 0, 0), Wanted("cow", 0, 0), Wanted("cat")]),
        (
            "a cat without a dog or no cow",
            [Wanted("cat"), Wanted("dog", 0, 0), Wanted("cow", 0, 0)],
        ),
        ("an orange and an orange cup", [Wanted("orange"), Wanted("cup", colour="orange")]),
        ("a cat left of a cup", [Wanted("cup"), Wanted("cat", 1, None, None, "left of", 0)]),
        (
            "a cat is to the right of the red cup",
            [Wanted("cup", colour="red"), Wanted("cat", 1, None, None, "right of", 0)],
        ),
        (
            "a cat and a dog, the dog above the cat",
            [Wanted("cat"), Wanted("dog", 1, None, None, "above", 0)],
        ),
        (
            "a cat and a dog, the cat above the dog",
            [Wanted("cat"), Wanted("dog", 1, None, None, "below", 0)],
        ),
        (
            "a bench under two birds",
            [Wanted("bird", 2, 2), Wanted("bench", 1, None, None, "below", 0)],
        ),
        ("a photo of a dog with a frisbee", [Wanted("dog"), Wanted("frisbee")]),
        ("a kite over a boat", [Wanted("boat"), Wanted("kite", 1, None, None, "above", 0)]),
        ("a pair of scissors", [Wanted("scissors")]),
        ("a pair of shoes", [Wanted("shoe", 2, 2)]),
        ("without cats", [Wanted("cat", 0, 0)]),
        ("a cat & a dog. No birds.", [Wanted("cat"), Wanted("dog"), Wanted("bird", 0, 0)]),
        (
            "a cat directly left of a dog",
            [Wanted("dog"), Wanted("cat", 1, None, None, "left of", 0)],
        ),
        ("there are two dogs; there is a cat", [Wanted("dog", 2, 2), Wanted("cat")]),
    ],
)
def test_a_plain_prompt_is_taken_apart(prompt: str, wanted: list[Wanted]) -> None:
    assert wanted_by(prompt) == wanted


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat on a table",
        "a cat sleeping",
        "a dog that looks at a cat",
        "red",
        "a red and blue ball",
        "several dogs",
        "a dog or a cat",
        "a cat or a dog, no people",
        "two cats or three dogs and no birds",
        "no birds, two cats or three dogs",
        "no more than two cats or dogs",
        "no dogs, cats or birds",
        "a bird and neither cats nor dogs",
        "zero dogs",
        "a street without people and cars",
        "no dogs and cats",
        "twenty cats",
        "a dozen eggs",
        "approximately three cats",
        "numerous cats",
        "a red cup and a blue one",
        "no dogs left of a cat",
        "a watercolour in the style of Turner",
        "une photo d'un chat dans la rue",
        "猫",
        "",
        "!!!",
        "a dog left of a dog",
        "a cat left of a dog left of a cup left of a bed",
        "exactly dogs",
        "a dog left of no cats",
    ],
)
def test_what_the_rules_would_misread_is_no_plain_prompt(prompt: str) -> None:
    with pytest.raises(NotPlainError) as error:
        as_task(wanted_by(prompt))
    assert str(error.value).count(".") >= 1


def test_a_number_is_exact_and_an_article_is_not() -> None:
    task = as_task(wanted_by("two cats, a dog and at least three cups"))
    assert task.include == (Need("cat", 2), Need("dog", 1), Need("cup", 3))
    assert task.exclude == (Need("cat", 3),)
    assert task.tag == "counting"
    assert as_task(wanted_by("a cat and a dog")).tag != "counting"


def test_a_position_refers_to_the_place_among_what_is_wanted() -> None:
    task = as_task(wanted_by("no dogs, a cup, a cat left of a chair"))
    assert task.include[2] == Need("cat", 1, None, "left of", 1)
    assert task.exclude == (Need("dog", 1),)


@pytest.mark.parametrize(
    "prompt",
    ["a " + "very " * 500 + "red cat", "exactly " + "many " * 500, "99 " + "c" * 9_000],
)
def test_a_refusal_quotes_only_the_beginning_of_a_long_prompt(prompt: str) -> None:
    with pytest.raises(InputError) as error:
        as_task(wanted_by(prompt))
    assert len(str(error.value)) < 250


def test_more_than_a_detector_counts_is_refused() -> None:
    with pytest.raises(InputError, match="at most 15"):
        wanted_by("99 cats")


def test_singulars_are_those_of_the_plurals_of_what_detectors_know() -> None:
    names = (
        "person bicycle bus bench sheep wine glass knife potted plant couch toothbrush vase horse"
    )
    names += " cookie canoe moustache axe lens bookshelf snowman grandchild ramen hero bus"
    names += " canvas rhinoceros sunglasses series headphones human policewoman penknife"
    names += " tomato taxi zucchini"
    for noun in (*names.split(), "skis", "scissors", "mouse", "house", "puppy", "donut", "box"):
        assert singular(plural(noun)) == noun, noun
        assert singular(noun) == noun, noun


def test_plurals_of_compounds_are_those_of_their_last_part() -> None:
    nouns = ("snowman", "human", "bookshelf", "grandchild", "hero")
    assert [*map(plural, nouns)] == ["snowmen", "humans", "bookshelves", "grandchildren", "heroes"]


def test_a_label_in_the_plural_is_known_by_the_name_that_a_prompt_gives_it() -> None:
    labels = {0: "Swim Fins", 1: "glasses", 2: "glass"}
    (fins, glass) = (wanted.name for wanted in wanted_by("swim fins and glasses"))
    assert class_numbers(labels, [fins, "glasses", glass]) == [0, 1, 2]
    assert knows(("glasses",), glass) and not knows(("glasses",), "glasse")
