"""The miniature's judge whose errors belong to what it looks at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import examples, toy_actors
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reflectionflow_core.cli import main
from reflectionflow_core.evaluation.arms import actors_of
from reflectionflow_core.evaluation.studies import StudyPlan, judged_by, table1, verifier
from reflectionflow_core.judge_errors import kind_of
from reflectionflow_core.miniature.erring import ErringVerifier, ErrorRates, erring_rates
from reflectionflow_core.miniature.judge import faults
from reflectionflow_core.miniature.prompts import FAMILIES, parse, prompts
from reflectionflow_core.miniature.requirements import demands, unmet_demands
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.miniature.world import COLOURS, SHAPES, Thing, render
from reflectionflow_core.protocols import LookingAgain
from reflectionflow_core.record import InputError

PROMPTS = [
    "a photo of a circle",
    "three red circles",
    "a red circle left of a blue square",
    "a red circle and a blue square",
    "two triangles",
    "a red circle and two blue circles",
    "a small red circle and a big blue square",
    "two circles, none of them red",
    "a red circle between a blue circle and a green cross",
    "two red circles and a red circle right of a blue square",
    "four circles, three circles and a cross",
]
PLACES = [(15.0, 15.0), (48.0, 15.0), (15.0, 48.0), (48.0, 48.0)]


def scenes() -> st.SearchStrategy[tuple[Thing, ...]]:
    kinds = st.sampled_from(SHAPES), st.sampled_from(list(COLOURS)), st.sampled_from((6, 8, 11))
    thing = st.tuples(*kinds)
    return st.lists(thing, max_size=4).map(
        lambda things: tuple(
            Thing(shape, colour, *place, radius)
            for (shape, colour, radius), place in zip(things, PLACES, strict=False)
        )
    )


def drawn(*things: tuple[str, str]) -> Image.Image:
    pairs = zip(things, PLACES, strict=False)
    return Image.fromarray(render(tuple(Thing(*kind, *place, 9.0) for kind, place in pairs)))


@given(scenes(), st.sampled_from(PROMPTS))
@settings(max_examples=examples(200), deadline=None)
def test_a_scene_meets_all_requirements_if_it_has_no_fault(
    scene: tuple[Thing, ...], prompt: str
) -> None:
    spec = parse(prompt)
    unmet = unmet_demands(scene, spec)
    assert bool(unmet) == bool(faults(scene, spec))
    assert {text for texts in unmet.values() for text in texts} == {
        fault.unmet for fault in faults(scene, spec)
    }
    assert unmet.keys() <= {demand.statement for demand in demands(spec)}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_kinds_of_requirements_are_those_that_their_words_tell(prompt: str) -> None:
    for demand in demands(parse(prompt)):
        assert kind_of(demand.statement) == demand.kind


@pytest.mark.parametrize(
    ("prompt", "untrue"),
    [
        ("two blue circles", {"two circles", "the circles are blue"}),
        ("two circles, none of them red", {"two circles", "no circle is red"}),
        ("two circles", {"two circles"}),
        ("a blue circle", {"nothing else"}),
    ],
)
def test_one_thing_too_many_makes_untrue_what_is_said_of_all(prompt: str, untrue: set) -> None:
    """Blue circles as asked for, and a red one."""
    spec = parse(prompt)
    kinds = ["blue"] * sum(group.count for group in spec.groups) + ["red"]
    scene = tuple(
        Thing("circle", colour, *place, 9.0) for colour, place in zip(kinds, PLACES, strict=False)
    )
    assert set(unmet_demands(scene, spec)) == untrue


def test_every_prompt_has_requirements_of_different_names() -> None:
    for family in FAMILIES:
        for _, spec in prompts(family, held_out=True)[:40]:
            names = [demand.statement for demand in demands(spec)]
            assert len({*names}) == len(names) >= 2, names


def test_without_errors_it_passes_what_the_exact_verifier_passes() -> None:
    judge, exact = ErringVerifier(ErrorRates(0.0, 0.0)), ExactVerifier()
    for images in ([drawn(("circle", "red"))], [drawn(("square", "red"), ("circle", "blue"))]):
        for prompt in PROMPTS:
            (ours,), (theirs,) = judge.verify(prompt, images), exact.verify(prompt, images)
            assert ours.passed == theirs.passed
            assert {*ours.unmet} == {*theirs.unmet}


def test_faults_that_it_finds_have_places_and_those_that_it_overlooks_have_none() -> None:
    picture, prompt = (
        drawn(("circle", "red"), ("square", "blue")),
        "a red circle and a green square",
    )
    (truth,) = ExactVerifier().verify(prompt, [picture])
    (fault,) = truth.unmet
    (blind,) = ErringVerifier(ErrorRates(1.0, 0.0)).verify(prompt, [picture])
    assert blind.passed and [seen.text for seen in blind.evidence] == ["red circle"]
    (alarmed,) = ErringVerifier(ErrorRates(0.0, 1.0)).verify(prompt, [picture])
    assert fault in alarmed.unmet and len(alarmed.unmet) > 1
    assert alarmed.evidence == truth.evidence


def pictures(count: int) -> list[Image.Image]:
    """The same right scene with other pixels: whom an error belongs to."""
    image = drawn(("circle", "red"))
    copies = []
    for i in range(count):
        pixels = np.array(image)
        pixels[0, i % 64] -= 1 + i // 64
        copies.append(Image.fromarray(pixels))
    return copies


@pytest.mark.parametrize("correlation", [0.0, 0.8, 1.0])
def test_errors_have_their_rate_and_come_back_with_their_correlation(correlation: float) -> None:
    judge, images = ErringVerifier(ErrorRates(0.2, 0.2, correlation)), pictures(1500)
    assert isinstance(judge, LookingAgain)
    first, again, later = (
        np.array([v.aspects["a circle"] == 0 for v in judge.look_again("a circle", images, look)])
        for look in (0, 1, 2)
    )
    for wrong in (first, again, later):
        assert wrong.mean() == pytest.approx(0.2, abs=0.04)
    for one, other in ((first, again), (first, later), (again, later)):
        assert np.corrcoef(one, other)[0, 1] == pytest.approx(correlation, abs=0.08)


def test_errors_follow_from_the_picture_and_not_from_the_order_of_questions() -> None:
    rates, images = ErrorRates(0.3, 0.3, 0.5), pictures(20)
    whole = ErringVerifier(rates).verify("a circle", images)
    assert ErringVerifier(rates).verify("a circle", images[::-1]) == whole[::-1]
    assert ErringVerifier(rates, seed=1).verify("a circle", images) != whole


@pytest.mark.parametrize("spec", ["noisy", "noisy:", "noisy:x", "noisy:0.1,0.2,3", "exact:1", "no"])
def test_other_names_are_refused(spec: str) -> None:
    with pytest.raises(InputError, match="noisy:RATE,CORRELATION"):
        erring_rates(spec)


def test_a_study_is_judged_by_a_judge_by_name() -> None:
    arms = table1(StudyPlan(budgets=(2,)))
    judged = judged_by(arms, "noisy:0.3,0.5", known=True)
    seated = actors_of(judged[0], toy_actors(), seed=3)
    assert isinstance(seated.verifier, ErringVerifier)
    assert seated.verifier.rates == ErrorRates(0.3, 0.3, 0.5) and seated.verifier.seed == 3
    assert seated.errors is not None
    assert seated.errors.of("colour").miss_rate == 0.3 and seated.errors.correlation == 0.5
    unknown = judged_by(arms, "noisy:0.3", known=False)
    assert actors_of(unknown[0], toy_actors(), seed=3).errors is None
    assert judged_by(arms, "exact", known=False) == arms
    for asked, judge, known, message in (
        (arms, "exact", True, "makes no errors"),
        (arms, "good", False, "no judge 'good'"),
        (verifier(StudyPlan()), "noisy:0.1", False, "its own judges"),
    ):
        with pytest.raises(InputError, match=message):
            judged_by(asked, judge, known)


def test_an_evaluation_takes_its_judge_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "shapes", "--prompts", "6", "--budgets", "1,2", "--strategies", "noise"]
    command += ["--processes", "1", "--json", str(tmp_path / "a.json")]
    assert main([*command, "--judge", "noisy:1"]) == 0
    record = json.loads((tmp_path / "a.json").read_text())
    assert {arm["judge"] for arm in record["arms"]} == {"noisy:1"}
    assert main([*command[:-1], str(tmp_path / "b.json"), "--known-errors"]) == 2
    assert "makes no errors" in capsys.readouterr().err


def test_a_judge_is_named_by_its_rates() -> None:
    assert erring_rates("noisy:0.1,0.8") == ErrorRates(0.1, 0.1, 0.8)
    assert erring_rates("noisy:0.2") == ErrorRates(0.2, 0.2)
    assert erring_rates("exact") == ErrorRates(0.0, 0.0)
    with pytest.raises(InputError, match="number of 2"):
        erring_rates("noisy:0.1,2")
