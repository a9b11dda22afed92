"""The shapes world: what is drawn is read back, what is asked is understood."""

from __future__ import annotations

import numpy as np
import pytest
from asking import about
from PIL import Image

from reflectionflow_core.miniature.detector import BLOB, detect
from reflectionflow_core.miniature.evolver import LayoutEvolver, RuleEvolver, layout, nearest
from reflectionflow_core.miniature.judge import faults, holds, score
from reflectionflow_core.miniature.prompts import FAMILIES, is_held_out, parse, prompts, specs
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.miniature.world import COLOURS, GROUND, SIZE, Thing, render
from reflectionflow_core.record import Candidate, InputError, Verdict
from reflectionflow_core.writers.template import TemplateWriter
from train.miniature.scenes import compose, flawed, repaired

RED_CIRCLE = Thing("circle", "red", 16, 32, 9)
BLUE_SQUARE = Thing("square", "blue", 48, 32, 9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_detector_passes_what_is_drawn_right_and_fails_what_is_drawn_wrong(family: str) -> None:
    rng = np.random.default_rng(FAMILIES.index(family))
    asked = [specs(family)[rng.integers(len(specs(family)))] for _ in range(400)]
    drawn = [compose(spec, rng) for spec in asked]
    passed = [not faults(detect(render(s)), spec) for s, spec in zip(drawn, asked, strict=True)]
    assert np.mean(passed) >= 0.995
    wrong = [flawed(scene, rng) for scene in drawn]
    false_alarms = [
        bool(faults(scene, spec)) and not faults(detect(render(scene)), spec)
        for scene, spec in zip(wrong, asked, strict=True)
    ]
    assert np.mean(false_alarms) <= 0.005


@pytest.mark.parametrize("family", FAMILIES)
def test_every_prompt_of_the_grammar_is_understood_and_the_split_is_clean(family: str) -> None:
    seen, kept = prompts(family, held_out=False), prompts(family, held_out=True)
    assert all(parse(text) == spec for text, spec in (*seen, *kept))
    assert not {text for text, _ in seen} & {text for text, _ in kept}
    assert kept
    assert all(is_held_out(text) for text, _ in kept)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("A photo of a red circle.", "a red circle"),
        ("a circle to the left of a square", "a circle left of a square"),
        ("  three   blue triangles ", "three blue triangles"),
    ],
)
def test_prompts_are_read_as_people_type_them(text: str, same_as: str) -> None:
    assert parse(text) == parse(same_as)


@pytest.mark.parametrize("text", ["a cat", "", "a red", "a circle and a square and a triangle"])
def test_a_prompt_outside_the_grammar_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="try 'a photo of"):
        parse(text)


@pytest.mark.parametrize(
    ("scene", "prompt", "unmet", "edit"),
    [
        ((RED_CIRCLE,), "a blue circle", "red circle is not blue", "recolor the red circle blue"),
        (
            (RED_CIRCLE,),
            "a square",
            "red circle is not a square",
            "turn the red circle into a square",
        ),
        (
            (RED_CIRCLE,),
            "a blue square",
            "red circle is not a blue square",
            "turn the red circle into a blue square",
        ),
        ((RED_CIRCLE, BLUE_SQUARE), "a circle", "extra blue square", "remove the blue square"),
        ((RED_CIRCLE,), "two red circles", "missing a red circle", "add a red circle"),
        ((), "a circle", "missing a circle", "add a circle"),
        (
            (RED_CIRCLE, BLUE_SQUARE),
            "a circle right of a square",
            "circle is not right of the square",
            "move the circle right of the square",
        ),
        (
            (BLUE_SQUARE,),
            "a circle above a square",
            "missing a circle above the square",
            "add a circle above the square",
        ),
    ],
)
def test_every_kind_of_fault_is_named_and_becomes_an_edit(
    scene: tuple[Thing, ...], prompt: str, unmet: str, edit: str
) -> None:
    found = faults(scene, parse(prompt))
    assert [fault.unmet for fault in found] == [unmet]
    assert TemplateWriter().write([fault.unmet for fault in found]) == edit
    assert score(scene, parse(prompt)) < 1.0


def test_a_right_scene_has_no_fault_and_the_highest_score() -> None:
    spec = parse("a red circle left of a blue square")
    assert not faults((RED_CIRCLE, BLUE_SQUARE), spec)
    assert score((RED_CIRCLE, BLUE_SQUARE), spec) == 1.0


def test_positions_follow_genevals_rule_of_sixty_degrees() -> None:
    origin = Thing("circle", "red", 0, 0, 8)
    assert holds("right of", Thing("square", "red", 10, 10, 8), origin)
    assert holds("below", Thing("square", "red", 10, 10, 8), origin)
    assert not holds("right of", Thing("square", "red", 10, 20, 8), origin)


def test_repairs_are_minimal_and_right() -> None:
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        for spec in specs(family)[:40]:
            scene = flawed(compose(spec, rng), rng)
            mended, found = repaired(scene, spec, rng)
            assert not faults(mended, spec)
            if not found:
                assert mended == scene


def test_the_verifier_names_what_is_wrong_and_what_it_sees() -> None:
    picture = Image.fromarray(render((RED_CIRCLE,)))
    right, wrong = (
        ExactVerifier().verify(prompt, [picture])[0] for prompt in ("a circle", "a square")
    )
    assert (right.passed, right.score, right.unmet) == (True, 1.0, ())
    assert (wrong.passed, wrong.unmet) == (False, ("red circle is not a square",))
    assert "red circle" in wrong.explanation


def test_of_right_pictures_the_verifier_is_surest_of_the_one_with_clear_colours() -> None:
    clean = render((Thing("square", "blue", 30, 30, 10),))
    smeared = clean.copy()
    smeared[20:28, 20:28] = COLOURS["purple"]
    clear, mixed, wrong = ExactVerifier().verify(
        "a blue square", [*map(Image.fromarray, (clean, smeared, 255 - clean))]
    )
    assert clear.passed and mixed.passed and not wrong.passed
    assert clear.sureness > mixed.sureness > wrong.sureness == 0


def test_noise_and_blank_pictures_are_judged_without_an_error() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pictures = [Image.fromarray(noise), Image.new("RGB", (1, 1)), Image.new("L", (640, 64), 255)]
    verdicts = ExactVerifier().verify("two red circles", pictures)
    assert not any(verdict.passed for verdict in verdicts)


def test_a_haze_too_pale_for_its_colour_is_a_blob() -> None:
    pixels = np.tile(np.array(GROUND, np.uint8), (SIZE, SIZE, 1))
    ground, blue = np.array(GROUND, float), np.array(COLOURS["blue"], float)
    pixels[20:40, 20:40] = (ground + 0.4 * (blue - ground)).astype(np.uint8)
    assert [thing.colour for thing in detect(pixels)] == [BLOB]


def test_what_cannot_be_told_is_left_out_of_the_words() -> None:
    spec = parse("a red circle")
    things = [Thing(BLOB, BLOB, 32, 32, 9), Thing(BLOB, "red", 32, 32, 9)]
    things.append(Thing("circle", BLOB, 32, 32, 9))
    assert [faults((thing,), spec)[0].unmet for thing in things] == [
        "blob is not a red circle",
        "red blob is not a circle",
        "circle is not red",
    ]


def test_two_shapes_grown_together_are_a_blob() -> None:
    touching = (Thing("circle", "red", 24, 32, 9), Thing("square", "red", 38, 32, 9))
    assert [thing.shape for thing in detect(render(touching))] == [BLOB]


def test_the_writer_stops_before_the_text_gets_too_long_but_always_says_something() -> None:
    writer = TemplateWriter(max_words=9)
    assert writer.write(["extra red circle", "missing a square", "missing a circle"]) == (
        "remove the red circle and add a square"
    )
    long = "red circle is not a yellow triangle"
    assert TemplateWriter(max_words=2).write([long]) == "turn the red circle into a yellow triangle"
    assert writer.write(["the light is too harsh"]) == "fix this: the light is too harsh"
    assert writer.write([]) == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layout_evolver_describes_a_right_picture(family: str) -> None:
    rng = np.random.default_rng(3)
    for text, spec in prompts(family, held_out=True)[:30]:
        scene = flawed(compose(spec, rng), rng)
        assert not faults(nearest(scene, spec), spec), text
        parent = Candidate(Image.fromarray(render(scene)), text, 0, Verdict(0.0))
        evolved = LayoutEvolver().evolve(text, about([parent]))[0]
        assert len(evolved.split()) <= 12, evolved


@pytest.mark.parametrize(
    ("prompt", "spelled"),
    [
        ("a photo of three red circles", "red circle, red circle, red circle"),
        ("a photo of a square and a circle", "square, circle"),
        ("a photo of a circle left of a square", "circle left of square"),
    ],
)
def test_the_rule_evolver_spells_a_prompt_out(prompt: str, spelled: str) -> None:
    wrong = Candidate(Image.new("RGB", (64, 64)), prompt, 0, Verdict(0.0))
    assert RuleEvolver().evolve(prompt, about([wrong, wrong])) == [spelled] * 2


def test_a_layout_keeps_what_is_right() -> None:
    scene = (RED_CIRCLE, BLUE_SQUARE)
    assert layout(scene) == "red circle left, blue square right"
    assert nearest(scene, parse("a circle and a square")) == scene
