"""Reflections, captions and the filter: `pytest tests/train/test_data_pairs.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scripted_vlm import ScriptedVlm

from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.writers.template import TemplateWriter
from train.data.annotating import (
    GAP,
    TemplateAnnotation,
    VlmAnnotation,
    build_annotation,
    side_by_side,
)
from train.data.captions import CaptionStage, CondenseStage, build_captioning
from train.data.filtering import FilterStage, build_filtering, fault_of
from train.data.prompts import Avoided
from train.data.ranking import RankStage
from train.data.records import Item, PaintedPicture, Pair, Slice
from train.data.settings import Filter, Judges, Ranked, Reflections
from train.triplets import encoded

NOTHING = Avoided([], held_out=False)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def painted(colour: tuple[int, int, int], unmet: tuple[str, ...] = ()) -> PaintedPicture:
    return PaintedPicture(encoded(Image.new("RGB", (8, 8), colour), "png"), unmet=unmet)


def pair(key: str = "rule-1-0", **changes: object) -> Pair:
    """A good picture in red and a bad one in blue."""
    made = Pair(key, "a red cup", painted(RED), painted(BLUE, ("cup is not red",)))
    return replace(made, **changes)


def work(*pairs: Pair) -> Slice:
    return Slice(0, 0, (), pairs=pairs)


def left_is_red(question: Question) -> bool:
    (grid,) = question.images
    return grid.getpixel((0, 0)) == RED


def comparison(better: str, instruction: str = "Paint the cup red.") -> str:
    return json.dumps({"analysis": "Look.", "better": better, "instruction": instruction})


def red_is_better(question: Question) -> str:
    return comparison("left" if left_is_red(question) else "right")


def test_a_template_names_what_was_wrong_and_keeps_a_given_reflection() -> None:
    given = pair("b", reflection="Wash the cup.")
    done = TemplateAnnotation(TemplateWriter(20))(work(pair("a"), given))
    assert [p.reflection for p in done.pairs] == ["recolor the cup red", "Wash the cup."]


def test_a_model_that_agrees_writes_the_reflection_and_its_reasons_are_kept() -> None:
    vlm = ScriptedVlm(red_is_better)
    done = VlmAnnotation(vlm, 30, 0)(work(*(pair(f"rule-{i}-0") for i in range(20))))
    assert {p.reflection for p in done.pairs} == {"Paint the cup red."}
    assert len(done.pairs) == 20
    assert done.pairs[0].metadata["analysis"] == "Look."
    assert done.counts == {"calls": 20}
    sides = [left_is_red(question) for question in vlm.asked]
    assert True in sides and False in sides


def test_a_model_that_always_says_left_loses_just_the_pairs_that_it_gets_wrong() -> None:
    vlm = ScriptedVlm(lambda _: comparison("left"))
    done = VlmAnnotation(vlm, 30, 0)(work(*(pair(f"rule-{i}-0") for i in range(20))))
    right = sum(map(left_is_red, vlm.asked))
    assert 0 < len(done.pairs) == right < 20
    assert done.rejects == {"annotation disagrees": 20 - right}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Failure("No answer."), "annotation failed"),
        ("I like both.", "annotation failed"),
        (comparison("neither"), "annotation failed"),
        ("first", "reflection points at a picture"),
    ],
)
def test_answers_that_cannot_be_used_cost_their_pair_only(
    answer: str | Failure, reason: str
) -> None:
    def script(question: Question) -> str | Failure:
        if "spoiled" not in question.text:
            return red_is_better(question)
        side = "left" if left_is_red(question) else "right"
        return comparison(side, "Do as the other picture does.") if answer == "first" else answer

    done = VlmAnnotation(ScriptedVlm(script), 30, 0)(
        work(pair("a"), pair("b", prompt="spoiled"), pair("c"))
    )
    assert [p.key for p in done.pairs] == ["a", "c"]
    assert done.rejects == {reason: 1}


def test_a_model_that_is_away_stops_the_run_and_costs_no_pair() -> None:
    away = ScriptedVlm(lambda _: Failure("The server is away.", temporary=True))
    with pytest.raises(InputError, match="not answer: The server is away"):
        VlmAnnotation(away, 30, 0)(work(pair("a"), pair("b")))
    with pytest.raises(InputError, match="The server is away"):
        CaptionStage(away, NOTHING)(work(pair("a", prompt=""), pair("b", prompt="")))
    done = VlmAnnotation(away, 30, 0)(work(pair("a")))  # may be too hard to answer in time
    assert done.rejects == {"annotation failed": 1}


def test_pairs_that_bring_their_reflection_are_not_asked_about() -> None:
    vlm = ScriptedVlm()
    done = VlmAnnotation(vlm, 30, 0)(work(pair(reflection="Wash it.")))
    assert (len(done.pairs), vlm.asked, vlm.batches) == (1, [], [])


def test_an_empty_or_long_instruction_is_left_to_the_filter_or_cut() -> None:
    said = {"a": "", "b": "word " * 500}

    def script(question: Question) -> str:
        side = "left" if left_is_red(question) else "right"
        return comparison(side, said["a" if "cup" in question.text else "b"])

    done = VlmAnnotation(ScriptedVlm(script), 30, 0)(work(pair("a"), pair("b", prompt="a dog")))
    assert [len(p.reflection.split()) for p in done.pairs] == [0, 30]
    assert fault_of(done.pairs[0]) == "reflection empty"


def test_two_pictures_stand_side_by_side_at_one_height() -> None:
    grid = side_by_side([Image.new("RGB", (10, 20), RED), Image.new("RGB", (30, 40), BLUE)])
    assert grid.size == (20 + GAP + 30, 40)
    assert [grid.getpixel((x, 39)) for x in (0, 22, 40)] == [RED, (255, 255, 255), BLUE]


def test_a_model_that_is_asked_for_but_missing_is_refused() -> None:
    with pytest.raises(InputError, match=r"reflections\.vlm"):
        build_annotation(Reflections(how="vlm"), 0)
    with pytest.raises(InputError, match=r"judges\.vlm"):
        build_captioning(Judges(), NOTHING)


def test_detailed_prompts_are_condensed_where_the_short_one_lacks() -> None:
    def script(question: Question) -> str | Failure:
        return Failure("No.") if "broken" in question.text else '{"text": "  a red  cup "}'

    items = (
        Item(0, "", {"detailed": "a cup of the deepest red"}),
        Item(1, "a dog", {"detailed": "a dog in the sun"}),
        Item(2, "", {"detailed": "broken"}),
    )
    vlm = ScriptedVlm(script)
    done = CondenseStage(vlm, NOTHING)(Slice(0, 0, items))
    assert [(item.number, item.prompt) for item in done.items] == [(0, "a red cup"), (1, "a dog")]
    assert (done.rejects, done.counts) == ({"prompt not condensed": 1}, {"calls": 2})


def test_a_prompt_that_becomes_a_benchmarks_when_condensed_falls_away(tmp_path) -> None:
    file = tmp_path / "benchmark.txt"
    file.write_text("a photo of a red cup\n")
    vlm = ScriptedVlm(lambda _: '{"text": "Red cup."}')
    items = (Item(0, "", {"detailed": "a cup of the deepest red"}),)
    done = CondenseStage(vlm, Avoided([str(file)], False))(Slice(0, 0, items))
    assert (done.items, done.rejects) == ((), {"prompt kept for testing": 1})


def test_an_edited_picture_without_a_caption_is_described() -> None:
    def script(question: Question) -> str | Failure:
        (picture,) = question.images
        return '{"text": "a red wall"}' if picture.getpixel((0, 0)) == RED else Failure("No.")

    bare, blue = pair("a", prompt=""), pair("b", prompt="", good=painted(BLUE))
    done = CaptionStage(ScriptedVlm(script), NOTHING)(work(bare, pair("c"), blue))
    assert [p.prompt for p in done.pairs] == ["a red wall", "a red cup"]
    assert done.rejects == {"picture not described": 1}


class Redness:
    """Scores the share of red; fails on black."""

    calls = 0

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        reds = [np.asarray(image)[..., 0].mean() / 255 for image in images]
        black = [not np.asarray(image).any() for image in images]
        return [
            Verdict.unjudged("It is dark.") if dark else Verdict(float(red))
            for red, dark in zip(reds, black, strict=True)
        ]


def test_the_filter_keeps_what_every_verifier_agrees_with() -> None:
    said = pair("a", reflection="Paint it.")
    pairs = {
        "verifier disagrees": replace(said, key="b", good=painted(BLUE), bad=painted(RED)),
        "pair not judged": replace(said, key="c", bad=painted((0, 0, 0))),
        "reflection empty": replace(said, key="d", reflection="  "),
        "prompt empty": replace(said, key="e", prompt=""),
        "pictures equal": replace(said, key="f", bad=painted(RED)),
        "text too long": replace(said, key="g", prompt="x" * 20_001),
    }
    kept = replace(said, key="h", prompt="x" * 10_000)
    done = FilterStage({"red": Redness()}, 0.5)(work(said, *pairs.values(), kept))
    assert [p.key for p in done.pairs] == ["a", "h"]
    assert done.rejects == dict.fromkeys(pairs, 1)


def test_a_judge_that_is_away_stops_the_run_and_costs_no_pair() -> None:
    dark = replace(pair("a", reflection="Paint it."), bad=painted((0, 0, 0)))
    with pytest.raises(InputError, match=r"are not judged: It is dark\. Start again with the same"):
        FilterStage({"red": Redness()}, 0.0)(work(dark, replace(dark, key="b")))
    with pytest.raises(InputError, match="are not judged"):  # others were rejected without a judge
        empty = replace(dark, key="c", reflection="")
        FilterStage({"red": Redness()}, 0.0)(work(dark, replace(dark, key="b"), empty))
    ranking = RankStage({"red": Redness()}, Ranked(), "reward", 0)
    items, black = (Item(0, "a cup"), Item(1, "a dog")), (painted((0, 0, 0)),) * 2
    with pytest.raises(InputError, match="are not judged: It is dark"):
        ranking(Slice(0, 0, items, pictures=(black, black)))
    done = ranking(Slice(0, 0, items, pictures=(black, (painted(RED), painted(BLUE)))))
    assert len(done.pairs) == 1 and done.rejects["picture not judged"] == 2


@given(st.floats(0, 1), st.integers(0, 255), st.integers(0, 255))
def test_the_filters_margin_is_what_the_scores_must_differ_by(
    margin: float, good: int, bad: int
) -> None:
    both = pair(good=painted((good, 0, 1)), bad=painted((bad, 0, 1)), reflection="Do.")
    done = FilterStage({"red": Redness()}, margin)(work(both))
    differ = np.float64(good) / 255 - np.float64(bad) / 255
    assert bool(done.pairs) == (good != bad and differ > margin)


def test_without_verifiers_only_texts_and_pictures_are_looked_at() -> None:
    filtering = build_filtering(Filter(scorers=[]), Judges())
    assert len(filtering(work(pair(reflection="Do."), pair())).pairs) == 1
