"""GenEval's rules, case by case on made-up finds: `pytest tests/core/test_geneval.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectionflow_core.detection.rules import (
    RELATIONS,
    Box,
    Detection,
    DetectionLimits,
    counted_detections,
    examine,
    overlap,
    relations,
)
from reflectionflow_core.detection.words import quantity
from reflectionflow_core.geneval.tasks import read_task, task_record
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.writers.template import TemplateWriter

OPPOSITE = ("right of", "left of", "below", "above")
LEFT, RIGHT, LOW = (10, 10, 30, 30), (60, 10, 80, 30), (10, 60, 30, 80)


def thing(name: str, box: Box = LEFT, score: float = 0.95) -> Detection:
    return Detection(name, score, box)


def judged(record: dict[str, Any], *things: Detection, **colours: str) -> Verdict:
    """The verdict where every thing of a name has the colour that is given for the name."""

    def colouring(asked: Sequence[Detection]) -> list[str]:
        return [colours[thing.name] for thing in asked]

    return examine(read_task(record), things, colouring)


def needs(*items: dict[str, Any], tag: str = "any", exclude: Sequence[dict] = ()) -> dict[str, Any]:
    include = [{"count": 1, **item} for item in items]
    return {"tag": tag, "include": include, "exclude": list(exclude)}


CUP, DOG = {"class": "cup"}, {"class": "dog"}


def test_a_thing_that_was_found_passes_and_one_that_was_not_is_missing() -> None:
    assert judged(needs(CUP), thing("cup")).passed
    verdict = judged(needs(CUP, DOG), thing("dog"))
    assert (verdict.passed, verdict.unmet, verdict.score) == (False, ("missing a cup",), 0.5)


def test_confidence_must_be_above_the_limit_and_counting_asks_for_more() -> None:
    assert not judged(needs(CUP), thing("cup", score=0.3)).passed
    assert judged(needs(CUP), thing("cup", score=0.31)).passed
    counting = needs(CUP, tag="counting")
    assert not judged(counting, thing("cup", score=0.9)).passed
    assert judged(counting, thing("cup", score=0.91)).passed


def test_too_few_and_too_many_are_counted() -> None:
    two = needs({**CUP, "count": 2}, tag="counting", exclude=[{"class": "cup", "count": 3}])
    cups = [thing("cup", box) for box in (LEFT, RIGHT, LOW)]
    assert judged(two, *cups[:1]).unmet == ("missing a cup",)
    assert judged(two, *cups[:2]).score == 1
    assert judged(two, *cups).unmet == ("extra cup",)
    assert judged(two, *cups, cups[0]).unmet == ("extra two cups",)
    scores = [judged(two, *some).score for some in ((), cups[:1], cups, [*cups, cups[0]])]
    assert scores == pytest.approx([1 / 2, 3 / 4, 5 / 6, 3 / 4])


def test_one_of_two_things_in_the_wrong_colour_is_half_a_fault() -> None:
    two = needs({**CUP, "count": 2, "color": "red"})
    cups = thing("cup", LEFT, 0.9), thing("cup", RIGHT, 0.8)
    colours = iter(["red", "blue"])
    verdict = examine(read_task(two), cups, lambda things: [next(colours) for _ in things])
    assert verdict.unmet == ("cup is not red",) and verdict.score == 0.75


def test_without_an_exclusion_more_than_asked_is_no_fault() -> None:
    assert judged(needs(CUP), *[thing("cup", box) for box in (LEFT, RIGHT, LOW)]).passed


def test_a_colour_is_asked_of_the_surest_things_only() -> None:
    red = needs({**CUP, "color": "red"})
    asked: list[Detection] = []

    def colouring(things: Sequence[Detection]) -> list[str]:
        asked.extend(things)
        return ["red" for _ in things]

    faint, sure = thing("cup", score=0.5), thing("cup", RIGHT, 0.9)
    assert examine(read_task(red), [faint, sure], colouring).passed
    assert asked == [sure]
    assert judged(red, sure, cup="blue").unmet == ("cup is not red",)
    assert judged(red, sure, cup="blue").score == 0.5


def test_colours_are_not_asked_for_where_none_is_wanted_or_nothing_was_found() -> None:
    # `judged` would fail on a name without a colour
    assert judged(needs(CUP), thing("cup")).passed
    missing = judged(needs({**CUP, "color": "red"}))
    assert (missing.unmet, missing.score) == (("missing a red cup",), 0)


def test_a_position_is_that_of_the_later_thing_to_the_earlier() -> None:
    below = needs(CUP, {**DOG, "position": ["below", 0]})
    assert judged(below, thing("cup", LEFT), thing("dog", LOW)).passed
    verdict = judged(below, thing("cup", LOW), thing("dog", LEFT))
    assert verdict.unmet == ("dog is not below the cup",)
    assert verdict.score == pytest.approx(2 / 3)


def test_where_the_other_thing_is_missing_there_is_no_position() -> None:
    below = needs(CUP, {**DOG, "position": ["below", 0]})
    assert judged(below, thing("dog")).unmet == ("missing a cup", "dog is not below the cup")
    assert judged(below, thing("cup")).unmet == ("missing a dog below the cup",)
    assert judged(below).score == 0


def test_a_wrong_colour_hides_no_wrong_place_and_makes_none() -> None:
    record = needs({**CUP, "color": "red"}, {**DOG, "color": "pink", "position": ["below", 0]})
    right = judged(record, thing("cup", LEFT), thing("dog", LOW), cup="blue", dog="pink")
    assert right.unmet == ("cup is not red",)
    wrong = judged(record, thing("cup", LOW), thing("dog", LEFT), cup="red", dog="blue")
    assert wrong.unmet == ("dog is not pink", "dog is not below the cup")


@pytest.mark.parametrize(
    ("box", "relation"),
    [
        ((0, 40, 10, 50), {"left of"}),
        ((90, 40, 100, 50), {"right of"}),
        ((40, 0, 50, 10), {"above"}),
        ((40, 90, 50, 100), {"below"}),
        ((0, 0, 10, 10), {"left of", "above"}),
        ((40, 40, 50, 50), set()),
        ((42, 40, 52, 50), set()),  # two pixels away: within a tenth of both sizes
    ],
)
def test_a_box_stands_to_another_as_one_sees(box: Box, relation: set[str]) -> None:
    assert relations(box, (40, 40, 50, 50)) == relation


coordinates = st.tuples(*[st.integers(0, 100)] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]) + 1, max(c[1], c[3]) + 1)
)


@given(coordinates, coordinates)
def test_what_stands_left_of_another_has_it_on_its_right(first: Box, second: Box) -> None:
    turned: dict[str, str] = dict(zip(RELATIONS, OPPOSITE, strict=True))
    assert {turned[relation] for relation in relations(first, second)} == relations(second, first)
    assert relations(first, first) == set()


@given(coordinates, coordinates)
def test_overlap_is_a_share_that_is_the_same_both_ways(first: Box, second: Box) -> None:
    assert 0 <= overlap(first, second) == overlap(second, first) <= 1
    assert overlap(first, first) == 1


def test_no_more_things_of_a_class_count_than_the_limit() -> None:
    task = read_task(needs(CUP))
    many_cups = [thing("cup", score=0.4 + i / 100) for i in range(20)]
    found = counted_detections(task, many_cups)["cup"]
    assert len(found) == 16
    assert found[0].score == max(cup.score for cup in many_cups)


def test_overlapping_boxes_are_one_thing_where_the_limit_says_so() -> None:
    task = read_task(needs(CUP))
    cups = [thing("cup", LEFT, 0.9), thing("cup", (11, 10, 31, 30), 0.8), thing("cup", RIGHT)]
    assert len(counted_detections(task, cups)["cup"]) == 3
    assert len(counted_detections(task, cups, DetectionLimits(max_overlap=0.5))["cup"]) == 2


def test_every_fault_becomes_an_edit() -> None:
    record = needs(CUP, {**DOG, "color": "red", "position": ["left of", 0]})
    verdict = judged(record, thing("cup", LEFT), thing("dog", RIGHT), dog="blue")
    edits = TemplateWriter(40).write([*verdict.unmet, "missing two cups", "extra wine glass"])
    assert edits == (
        "recolor the dog red and move the dog left of the cup and add two cups and "
        "remove the wine glass"
    )


def test_a_task_is_read_and_written_as_geneval_has_it() -> None:
    record = {
        "tag": "position",
        "include": [
            {"class": "cup", "count": 1, "color": "red"},
            {"class": "dog", "count": 1, "position": ["left of", 0]},
        ],
        "exclude": [{"class": "dog", "count": 2}],
    }
    assert task_record(read_task(record)) == record


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"tag": "x", "include": [{"class": "cup"}]},
        {"tag": "x", "include": [{"class": "cup", "count": 1e999}]},
        {"tag": "x", "include": ["cup"]},
        needs({**CUP, "position": ["inside", 0]}),
        needs({**CUP, "position": ["above", 0]}),
        needs(CUP, {**DOG, "position": ["above", 5]}),
    ],
)
def test_what_is_no_task_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read_task(record)


def test_things_are_counted_in_english() -> None:
    assert [quantity(1, "orange"), quantity(1, "red cup")] == ["an orange", "a red cup"]
    assert [
        quantity(2, name) for name in ("wine glass", "bus", "knife", "person", "berry", "key")
    ] == [
        "two wine glasses",
        "two buses",
        "two knives",
        "two people",
        "two berries",
        "two keys",
    ]
    assert quantity(12, "computer mouse") == "12 computer mice"


COLOURS_OF_TOYS = ("red", "green")
toy_boxes = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(5, 40)).map(
    lambda c: (float(c[0]), float(c[1]), float(c[0] + c[2]), float(c[1] + c[2]))
)
toy_finds = st.lists(
    st.tuples(st.sampled_from(["cup", "dog"]), toy_boxes, st.sampled_from(COLOURS_OF_TOYS)),
    max_size=24,
)
toy_needs = st.fixed_dictionaries(
    {"class": st.sampled_from(["cup", "dog"]), "count": st.integers(1, 3)},
    optional={"color": st.sampled_from(COLOURS_OF_TOYS)},
)


def official_answer(record: dict[str, Any], found: Sequence[tuple[Detection, str]]) -> bool:
    """The official program's semantics (anchored on its rules, not on our code): what is surest
    counts, the first clause that fails hides what later clauses say of its things.
    """
    least = 0.9 if record["tag"] == "counting" else 0.3
    sure = sorted((f for f in found if f[0].score > least), key=lambda f: -f[0].score)
    by_class = {name: [f for f in sure if f[0].name == name][:16] for name in ("cup", "dog")}
    groups: list[list[tuple[Detection, str]] | None] = []
    for need in record["include"]:
        group = by_class[need["class"]][: need["count"]]
        met = len(group) == need["count"]
        if "color" in need:
            met &= sum(colour == need["color"] for _, colour in group) >= need["count"]
        if met and "position" in need:
            relation, target = need["position"]
            others = groups[target]
            met = others is not None and all(
                relation in official_places(a.box, b.box) for a, _ in group for b, _ in others
            )
        groups.append(group if met else None)
    over = [need for need in record["exclude"] if len(by_class[need["class"]]) >= need["count"]]
    return None not in groups and not over


def official_places(a: Box, b: Box) -> set[str]:
    """With vectors: the offset of the centres, shortened by a tenth of both sizes, in its
    direction; a side counts from half of the whole offset's length on.
    """
    first, second = np.reshape(a, (2, 2)), np.reshape(b, (2, 2))
    offset = first.mean(0) - second.mean(0)
    sizes = (first[1] - first[0]) + (second[1] - second[0])
    short = np.sign(offset) * np.clip(np.abs(offset) - 0.1 * sizes, 0, None)
    if np.abs(short).max() < 1e-3:
        return set()
    x, y = short / np.hypot(*offset)
    parts = {"left of": -x, "right of": x, "above": -y, "below": y}
    return {name for name, share in parts.items() if share > 0.5}


@settings(max_examples=400)
@given(
    finds=toy_finds,
    scores=st.permutations([0.02 + 0.04 * i for i in range(24)]),
    include=st.lists(toy_needs, min_size=1, max_size=3),
    position=st.sampled_from([None, *RELATIONS]),
    tag=st.sampled_from(["counting", "position"]),
    exclude=st.sampled_from([None, 1, 2, 3, 4]),
)
def test_a_picture_passes_where_the_official_rules_pass_it(
    finds, scores, include, position, tag, exclude
) -> None:
    include = [dict(need) for need in include]
    if position and len(include) > 1:
        include[-1]["position"] = [position, 0]
    extra = [{"class": include[0]["class"], "count": exclude}] if exclude else []
    record = {"tag": tag, "include": include, "exclude": extra}
    found = [
        (Detection(name, score, box), colour)
        for (name, box, colour), score in zip(finds, scores, strict=False)
    ]
    colours = {id(thing): colour for thing, colour in found}

    def colouring(things: Sequence[Detection]) -> list[str]:
        return [colours[id(thing)] for thing in things]

    verdict = examine(read_task(record), [thing for thing, _ in found], colouring)
    assert verdict.passed is official_answer(record, found)


def test_an_exclusion_counts_no_more_than_sixteen_things() -> None:
    many_cups = [thing("cup", score=0.95) for _ in range(20)]
    assert judged(needs(CUP, exclude=[{"class": "cup", "count": 17}]), *many_cups).passed
    assert not judged(needs(CUP, exclude=[{"class": "cup", "count": 16}]), *many_cups).passed


def test_of_equally_sure_things_the_detectors_first_is_asked() -> None:
    red, first, second = needs({**CUP, "color": "red"}), thing("cup"), thing("cup", RIGHT)
    for things, passes in (((first, second), True), ((second, first), False)):
        verdict = examine(
            read_task(red), things, lambda asked: ["red" if t is first else "blue" for t in asked]
        )
        assert verdict.passed is passes


def test_doubles_are_dropped_among_the_sixteen_surest() -> None:
    doubles = [thing("cup", LEFT, 0.9) for _ in range(16)]
    faint = thing("cup", RIGHT, 0.5)
    found = counted_detections(
        read_task(needs(CUP)), [*doubles, faint], DetectionLimits(max_overlap=0.5)
    )
    assert found["cup"] == doubles[:1]


def test_every_official_prompt_is_a_task_that_is_written_as_it_was_read() -> None:
    """The six forms of prompts that the official file has."""
    forms = [
        needs(CUP, tag="single_object"),
        needs(CUP, DOG, tag="two_object"),
        needs({**CUP, "count": 2}, tag="counting", exclude=[{"class": "cup", "count": 3}]),
        needs({**CUP, "color": "red"}, tag="colors"),
        needs(CUP, {**DOG, "position": ["right of", 0]}, tag="position"),
        needs({**CUP, "color": "red"}, {**DOG, "color": "blue"}, tag="color_attr"),
    ]
    for form in forms:
        exclude = {"exclude": form["exclude"]} if form["exclude"] else {}
        assert task_record(read_task(form)) == {
            "tag": form["tag"],
            "include": form["include"],
            **exclude,
        }
