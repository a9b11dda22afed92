"""The verifier `objects` on an exact detector of shapes: `pytest tests/core/test_objects.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from core.exact_detector import ShapesColours, ShapesDetector
from fakes import Watcher
from PIL import Image
from scripted_vlm import ScriptedVlm

from reflectionflow_core.cli import main
from reflectionflow_core.detection.device_check import PICTURES
from reflectionflow_core.detection.examiner import Examiner
from reflectionflow_core.detection.objects import ObjectsVerifier, objects_verifier
from reflectionflow_core.detection.pixel_colours import PixelColours
from reflectionflow_core.detection.rules import Detection, DetectionLimits
from reflectionflow_core.detection.words import COLOURS
from reflectionflow_core.evidence import Evidence, places_of
from reflectionflow_core.miniature.prompts import FAMILIES, prompts
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.miniature.world import Thing, render
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier
from reflectionflow_core.writers.template import TemplateWriter

RED = Thing("circle", "red", 14, 14, 8)
GREEN = Thing("circle", "green", 50, 14, 8)
BLUE = Thing("square", "blue", 50, 50, 8)
# What GenEval has no rule for.
BEYOND_THE_RULES = ("size", "between", "none_of")


def drawn(*things: Thing) -> Image.Image:
    return Image.fromarray(render(things))


def verifier(vlm: ScriptedVlm | None = None, **how: object) -> ObjectsVerifier:
    return ObjectsVerifier(Examiner(ShapesDetector(**how), ShapesColours()), vlm)  # type: ignore[arg-type]


def judged(prompt: str, *things: Thing) -> Verdict:
    return verifier().verify(prompt, [drawn(*things)])[0]


@pytest.mark.parametrize(
    ("prompt", "things", "unmet", "edit"),
    [
        ("a circle", (RED,), (), ""),
        ("two circles", (RED, GREEN), (), ""),
        ("a circle", (RED, GREEN), (), ""),
        ("at least one circle", (RED, GREEN), (), ""),
        ("one circle", (RED,), (), ""),
        ("no squares", (RED,), (), ""),
        ("a red circle and a green circle", (GREEN, RED), (), ""),
        ("exactly one red circle", (RED, GREEN), (), ""),
        ("a red circle left of a green circle", (RED, GREEN), (), ""),
        ("a circle and no blue circles", (RED, GREEN, BLUE), (), ""),
        ("two circles, one square", (RED, GREEN, BLUE), (), ""),
        ("two circles", (RED,), ("missing a circle",), "add a circle"),
        ("a square", (RED,), ("missing a square",), "add a square"),
        (
            "one circle",
            (RED, GREEN),
            ("extra circle at the top right",),
            "remove the circle at the top right",
        ),
        (
            "no circles",
            (RED, GREEN),
            ("extra circle at the top left", "extra circle at the top right"),
            "remove the circle at the top left",
        ),
        ("a blue circle", (RED,), ("circle is not blue",), "recolor the circle blue"),
        (
            "two red circles",
            (RED, GREEN),
            ("missing a red circle",),
            "add a red circle",
        ),
        (
            "at least two red circles",
            (RED, GREEN),
            ("circle at the top right is not red",),
            "recolor the circle at the top right red",
        ),
        (
            "a circle right of a square",
            (RED, BLUE),
            ("circle is not right of the square",),
            "move the circle right of the square",
        ),
        (
            "a red circle right of a green circle",
            (RED, GREEN),
            ("red circle is not right of the green circle",),
            "move the red circle right of the green circle",
        ),
        (
            "a red circle and a green circle",
            (RED,),
            ("missing a green circle",),
            "add a green circle",
        ),
        (
            "a circle and no green circles",
            (RED, GREEN),
            ("extra green circle at the top right",),
            "remove the green circle at the top right",
        ),
        ("a circle and a red circle", (RED,), ("missing a circle",), "add a circle"),
    ],
)
def test_each_prompt_is_judged_and_each_fault_becomes_a_command(
    prompt: str, things: Sequence[Thing], unmet: tuple[str, ...], edit: str
) -> None:
    verdict = judged(prompt, *things)
    assert verdict.unmet == unmet
    assert verdict.passed is not bool(unmet)
    assert (verdict.score == 1) is not bool(unmet)
    assert TemplateWriter(9).write(verdict.unmet) == edit


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in BEYOND_THE_RULES])
def test_it_agrees_with_the_miniatures_exact_verifier_where_nothing_is_extra(family: str) -> None:
    """GenEval's rules mind no extra things, and the exact verifier does."""
    pictures = [drawn(RED), drawn(RED, BLUE), drawn(RED, GREEN), drawn(BLUE), drawn()]
    ours, exact, compared = verifier(), ExactVerifier(), 0
    plain = [prompt for prompt, _ in prompts(family, held_out=False) if "drawing" not in prompt]
    for prompt in plain[:25]:
        pairs = zip(ours.verify(prompt, pictures), exact.verify(prompt, pictures), strict=True)
        for mine, truth in pairs:
            if not any(fault.startswith("extra") for fault in truth.unmet):
                assert mine.passed == truth.passed, (prompt, mine, truth)
                compared += 1
    assert compared >= 15


def test_faults_have_the_boxes_of_their_things_and_right_things_too() -> None:
    verdict = judged("one circle and a square", RED, GREEN, BLUE)
    (fault,) = verdict.unmet
    (box,) = places_of(fault, verdict.evidence)
    assert box == pytest.approx(Evidence.in_pixels("", (42, 6, 58, 22), (64, 64)).box, abs=0.01)
    right = {seen.text for seen in verdict.evidence if seen.text not in verdict.unmet}
    assert right == {"circle", "square"}
    assert all(seen.sureness == 0.95 for seen in verdict.evidence)
    missing = judged("a triangle", RED)
    assert missing.evidence == (Evidence("missing a triangle", None, 1.0),)


def test_the_picture_may_have_any_size_and_mode() -> None:
    small = drawn(RED, BLUE)
    for size in ((1, 1), (64, 1), (8_000, 40), (40, 8_000)):
        assert verifier().verify("a circle", [small.resize(size)])[0].passed is not None
    for image in (small.convert("P"), small.convert("RGBA"), small.convert("L")):
        assert verifier().verify("a circle and a square", [image])[0].passed
    hidden = Image.merge("RGBA", (*small.split(), Image.new("L", small.size, 0)))
    assert verifier().verify("a circle", [hidden])[0].unmet == ("missing a circle",)
    white = verifier().verify("a circle", [Image.new("RGB", (64, 64), "white")])[0]
    assert white.unmet == ("missing a circle",)
    large = drawn(RED, GREEN, BLUE).resize((4096, 4096), Image.Resampling.NEAREST)
    (seen,) = verifier().verify("no squares", [large])[0].evidence
    assert seen.box == pytest.approx((42 / 64, 42 / 64, 58 / 64, 58 / 64), abs=0.02)


@pytest.mark.parametrize(
    ("prompt", "match"),
    [
        ("a zeppelin", r"does not know 'zeppelin'.*`checklist`"),
        ("a circel", "The nearest known name is 'circle'"),
        ("a circle on a square", "The rules cannot take .*'on' is not the name.*`checklist`"),
        ("a circle in the style of Turner", "Write it plainly"),
        ("a circle left of a circle", "Nothing tells one circle from the other"),
        ("two circles and a red circle left of a square", "Nothing tells|cannot"),
    ],
)
def test_what_cannot_be_judged_is_told_before_the_first_picture(prompt: str, match: str) -> None:
    if prompt.startswith("two circles and a red"):
        assert verifier().verify(prompt, []) == []  # the red one can be told from the others
        return
    with pytest.raises(InputError, match=match):
        verifier().verify(prompt, [])


def different(count: int) -> list[Image.Image]:
    return [drawn(Thing("circle", "red", 14 + i, 14, 5 + i / 4)) for i in range(count)]


def test_a_detector_that_sees_nothing_is_refused_after_so_many_different_pictures() -> None:
    blind = verifier(blind=True)
    assert len(blind.verify("a circle", different(PICTURES - 1) * 2)) == 2 * (PICTURES - 1)
    with pytest.raises(InputError, match=f"finds something in 0 of the first {PICTURES} pictures"):
        blind.verify("a circle", different(PICTURES))
    # Pictures that lack what is asked for, and show other things, are no fault of the detector.
    seeing = verifier()
    assert not any(v.passed for v in seeing.verify("a triangle", different(PICTURES)))


def test_a_detector_that_hesitates_over_plain_pictures_is_only_spoken_of() -> None:
    class Hesitant(ShapesDetector):
        def _seen(self, image: Image.Image, names: Sequence[str]) -> list[Detection]:
            sure = 1 - float(np.asarray(image).mean()) / 255  # by how much was drawn
            return [Detection("circle", sure, (0, 0, 9, 9))]

    heard = Watcher()
    judge = ObjectsVerifier(Examiner(Hesitant(), ShapesColours()))
    assert len(judge.verify("a circle", different(30), heard)) == 30
    (said,) = heard.said
    assert said.startswith(f"The detector finds something in 0 of the first {PICTURES} pictures.")


def test_a_device_that_gives_other_answers_is_refused() -> None:
    def other() -> Examiner:
        return Examiner(ShapesDetector(blind=True), ShapesColours())

    wrong = ObjectsVerifier(Examiner(ShapesDetector(), ShapesColours()), None, other, "cuda")
    with pytest.raises(InputError, match="On cuda the detector gives 0% of the answers"):
        wrong.verify("a circle", [drawn(RED)])
    same = Examiner(ShapesDetector(), ShapesColours())
    right = ObjectsVerifier(same, None, lambda: same, "cuda")
    assert right.verify("a circle", [drawn(RED)])[0].passed


def test_numbers_that_are_none_are_refused() -> None:
    class Damaged(ShapesDetector):
        def detect(self, images, names, progress=None):  # type: ignore[override]
            return [[Detection("circle", float("nan"), (0, 0, 1, 1))] for _ in images]

    with pytest.raises(InputError, match="not finite"):
        objects_verifier(Damaged()).verify("a circle", [drawn(RED)])


def scene(*things: dict, rest: Sequence[str] = ()) -> Callable:
    return lambda _: json.dumps({"things": list(things), "rest": list(rest)})


def test_a_model_takes_other_prompts_apart_once_and_its_question_is_counted() -> None:
    things = ({"name": "squares"}, {"name": "circle", "relation": "left of", "of": 0})
    vlm = ScriptedVlm(scene(*things, rest=["watercolour"]))
    judge = verifier(vlm)
    prompt = "a watercolour of a circle that rolls towards a square at its right"
    assert judge.verify(prompt, []) == [] and judge.spent == 0
    (verdict,) = judge.verify(prompt, [drawn(RED, BLUE)])
    (again,) = judge.verify(prompt, [drawn(BLUE)])
    assert len(vlm.asked) == judge.spent == 1
    # What is left over was not judged, so nobody may say that the picture passed.
    assert (verdict.passed, verdict.unmet) == (None, ())
    assert verdict.explanation.endswith("Not judged: watercolour.")
    assert again.unmet == ("missing a circle left of the square",) and again.passed is False
    assert "circle, square, triangle" in vlm.asked[0].text


def test_a_plain_prompt_asks_no_model_and_an_unknown_word_does() -> None:
    vlm = ScriptedVlm(scene({"name": "circle", "number": 1}, rest=["fluffy"]))
    judge = verifier(vlm)
    assert judge.verify("two circles", [drawn(RED)])[0].unmet == ("missing a circle",)
    assert not vlm.asked
    assert judge.verify("a fluffy circle", [drawn(RED)])[0].passed is None
    assert len(vlm.asked) == 1


@pytest.mark.parametrize("how", ["at least", "at most", "exactly"])
def test_a_model_s_number_0_forbids_a_thing(how: str) -> None:
    things = ({"name": "square", "number": 0, "how": how}, {"name": "circle"})
    judge = verifier(ScriptedVlm(scene(*things, rest=[])))
    (verdict,) = judge.verify("a circle on a pond, please no squares", [drawn(RED, BLUE)])
    assert verdict.unmet == ("extra square at the bottom right",)


def test_none_is_neither_a_colour_nor_a_position_nor_something_left_over() -> None:
    thing = {"name": "circle", "colour": "None", "relation": "none", "of": None}
    judge = verifier(ScriptedVlm(scene(thing, rest=["none"])))
    assert judge.verify("a circle on a pond", [drawn(RED)])[0].passed is True


def test_of_words_in_quotation_marks_it_names_the_judge_that_reads_them() -> None:
    with pytest.raises(InputError, match="Choose `objects\\+text`"):
        verifier().verify('a circle and the words "OPEN"', [])


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ("I cannot.", "could not parse the prompt"),
        (json.dumps({"things": []}), "could not parse the prompt"),
        (
            json.dumps({"things": [{"name": "circle", "relation": "left of", "of": 3}]}),
            "not the place of another thing",
        ),
        (
            json.dumps({"things": [{"name": "circle", "relation": "near", "of": 0}]}),
            "is none of left of",
        ),
        (
            json.dumps(
                {
                    "things": [
                        {"name": "circle"},
                        {"name": "square", "number": 0, "relation": "left of", "of": 0},
                    ]
                }
            ),
            "may be missing",
        ),
        (json.dumps({"things": [{"name": "zeppelin"}]}), "does not know 'zeppelin'"),
        (json.dumps({"things": [{"name": "circle", "number": 99}]}), "number"),
    ],
)
def test_a_model_that_fails_is_told_before_the_first_picture(answer: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        verifier(ScriptedVlm(lambda _: answer)).verify("a circle on fire", [])


def test_it_joins_others_and_the_boxes_stay() -> None:
    both = EnsembleVerifier(
        [
            EnsembleMember("objects", verifier(), 0.25),
            EnsembleMember("exact", ExactVerifier(), 0.25),
        ]
    )
    (verdict,) = both.verify("a red circle", [drawn(GREEN)])
    assert verdict.unmet == ("circle is not red", "green circle is not red")
    assert {seen.text for seen in verdict.evidence} == set(verdict.unmet)


def test_among_others_it_is_left_out_where_it_cannot_judge() -> None:
    objects = verifier()
    assert objects.applies_to("two circles")
    assert not objects.applies_to("a zeppelin") and not objects.applies_to("a circle on a roof")
    assert verifier(ScriptedVlm()).applies_to("a circle on a roof")

    class Pleased:
        calls = 0

        def verify(self, prompt, images, progress=None):
            return [Verdict(1.0, True) for _ in images]

    both = EnsembleVerifier([EnsembleMember("objects", objects), EnsembleMember("all", Pleased())])
    (verdict,) = both.verify("a circle on a roof", [drawn()])
    assert verdict.passed and "objects: left out" in verdict.explanation
    assert both.verify("a circle", [drawn()])[0].passed is False


@pytest.mark.parametrize("colour", COLOURS)
def test_pixels_vote_for_the_colour_of_a_thing(colour: str) -> None:
    image = Image.new("RGB", (60, 60), "#999999")
    image.paste(colour, (20, 10, 50, 40))
    box = (20.0, 10.0, 50.0, 40.0)
    mask = np.zeros((60, 60), bool)
    mask[10:40, 20:50] = True
    things = [Detection("cup", 1.0, box), Detection("cup", 1.0, (0, 0, 60, 60), mask)]
    assert PixelColours().colours(image, things) == [colour, colour]
    assert PixelColours().colours(image, [Detection("cup", 1.0, (0, 45, 20, 60))]) != [colour]


def test_the_limits_of_a_detector_can_be_others() -> None:
    strict = objects_verifier(ShapesDetector(blur=0.3), DetectionLimits(0.7, 0.7))
    assert strict.verify("a circle", [drawn(RED)])[0].unmet == ("missing a circle",)
    assert strict.verify("a circle", [drawn(RED)])[0].evidence[0].sureness == 0.35


def test_the_command_line_says_what_objects_lacks_before_anything_is_painted(
    tmp_path: Path, capsys
) -> None:
    command = ["run", "a cat", "--out", str(tmp_path / "run")]
    for given, match in (
        (["--verifier", "objects"], "needs a detector"),
        (
            ["--verifier", "objects", "--detector", "onnx:none.onnx"],
            "There is no detector none.onnx",
        ),
        (["--detector", "none"], "--detector has no effect without --verifier objects"),
        (["--colour-judge", "none"], "--colour-judge has no effect without"),
    ):
        assert main([*command, *given]) == 2
        assert match in capsys.readouterr().err
    assert not (tmp_path / "run" / "history.jsonl").exists()
