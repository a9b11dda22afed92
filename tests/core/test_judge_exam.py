"""The exam of a judge: statements are as true as they say, and errors are counted right."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
from core.exact_detector import ShapesDetector
from PIL import Image
from scripted_vlm import ScriptedVlm
from shape_reader import is_true

from reflectionflow_core.detection.rules import Detection, DetectionLimits
from reflectionflow_core.judge_errors import KINDS
from reflectionflow_core.judge_exam.asking import Asked, ModelAnswers, VerifierAnswers
from reflectionflow_core.judge_exam.changes import doubled, erased, hue_turned, mirrored, reframed
from reflectionflow_core.judge_exam.detecting import known_by_detector, known_shapes
from reflectionflow_core.judge_exam.items import (
    CONTROL,
    LABEL,
    PLANTED,
    SCENE,
    TURNED,
    ExamItem,
    KnownPicture,
    KnownThing,
)
from reflectionflow_core.judge_exam.measuring import (
    GivenAnswer,
    chosen_items,
    correlation_of,
    examine_judge,
    to_ask_again,
)
from reflectionflow_core.judge_exam.planting import known_items
from reflectionflow_core.judge_exam.scenes import drawn, scene_items
from reflectionflow_core.judge_exam.wording import contradictions, hue_in, side_in
from reflectionflow_core.miniature.detector import detect_boxes
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.miniature.world import Scene, Thing
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.verifiers.yes_no import YesNoVerifier
from reflectionflow_core.vlm.interface import Failure, Question

TWO_AND_ONE: Scene = (
    Thing("circle", "red", 14, 16, 8),
    Thing("circle", "yellow", 15, 48, 8),
    Thing("square", "blue", 46, 17, 8),
)
THREE_KINDS: Scene = (Thing("circle", "red", 12, 12, 8), Thing("triangle", "green", 50, 13, 8))


def known(scene: Scene, side: int = 256) -> KnownPicture:
    """A drawn scene with the boxes of its things."""
    image = drawn(scene, side)
    boxes = {t: tuple(edge / 64 for edge in box) for t, box in detect_boxes(image).items()}
    things = tuple(KnownThing(t.shape, box, t.colour) for t, box in boxes.items())  # type: ignore[arg-type]
    return KnownPicture(partial(drawn, scene, side), things, group="one")


# Statements and pictures


@pytest.mark.parametrize("kind", KINDS)
def test_of_each_drawn_scene_one_statement_holds_and_one_does_not(kind: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(12):
        right, wrong = scene_items(kind, rng)
        picture = right.picture()
        assert picture.tobytes() == wrong.picture().tobytes()
        assert (right.kind, right.source, right.holds, wrong.holds) == (kind, SCENE, True, False)
        assert is_true(right.statement, picture), right.statement
        assert not is_true(wrong.statement, picture), wrong.statement


@pytest.mark.parametrize(
    ("scene", "notes"),
    [
        (TWO_AND_ONE, {"turned", "erased", "doubled"}),
        (THREE_KINDS, {"turned", "erased", "doubled", "mirrored"}),
    ],
)
def test_planted_changes_and_turned_words_make_false_what_was_true(
    scene: Scene, notes: set[str]
) -> None:
    picture = known(scene)
    original = picture.picture().tobytes()
    seen: Counter[str] = Counter()
    for seed in range(4):
        for item in known_items(picture, np.random.default_rng(seed)):
            image = item.picture()
            assert is_true(item.statement, image) is item.holds, (item.statement, item.note)
            assert (image.tobytes() == original) is (item.source != PLANTED)
            assert item.holds is (item.source == CONTROL)
            seen[item.note.split()[-1] if item.note else item.source] += 1
    assert seen.keys() == {*notes, CONTROL, TURNED}


def test_a_thing_that_touches_another_is_not_erased() -> None:
    things = (
        KnownThing("cup", (0.1, 0.1, 0.5, 0.5)),
        KnownThing("plate", (0.5, 0.1, 0.9, 0.5)),
    )
    picture = KnownPicture(lambda: Image.new("RGB", (100, 100)), things)
    notes = {item.note for item in known_items(picture, np.random.default_rng(0))}
    assert "one cup doubled" in notes and not any("erased" in note for note in notes)


def test_a_grey_thing_does_not_lose_a_colour_by_turned_hues() -> None:
    things = (KnownThing("cup", (0.2, 0.2, 0.6, 0.6), "red"),)
    picture = KnownPicture(lambda: Image.new("RGB", (100, 100), (120, 120, 120)), things)
    notes = [item.note for item in known_items(picture, np.random.default_rng(0))]
    assert "hues turned" not in notes


def test_changes_touch_what_they_should_and_nothing_else() -> None:
    image = drawn(TWO_AND_ONE, 256)
    before, box = np.asarray(image), (0.6, 0.1, 0.85, 0.4)
    gone = np.asarray(erased(image, box))
    assert (gone != before).any(2)[20:110, 140:230].any()
    outside = np.ones((256, 256), bool)
    outside[15:115, 140:230] = False
    assert (gone == before).all(2)[outside].all()
    twice = np.asarray(doubled(image, box, (0.6, 0.6, 0.85, 0.9)))
    assert (twice[154:230, 154:218] == before[26:102, 154:218]).all()
    assert (mirrored(image).tobytes()) == before[:, ::-1].tobytes()
    turned = np.asarray(hue_turned(image, 1 / 3)).astype(int)
    assert turned[64, 56, 1] > 150 > turned[64, 56, 0]  # what was red is green
    framed = np.asarray(reframed(image))
    assert framed.shape == (286, 286, 3) and (framed[15:-15, 15:-15] == before).all()
    with pytest.raises(ValueError, match="fills the picture"):
        erased(image, (0, 0, 1, 1))


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        ("exactly two cups", ["number"]),
        ("two cups", []),  # at least two, perhaps
        ("the cup is red", ["colour"]),
        ("a red cup", []),  # another may be blue
        ("the red cup is on a table", []),
        ("the cup is to the left of the plate", ["position"]),
        ("the left cup is red", ["colour"]),
        ("a cup is left of a plate", []),
        ("the cup is not red", []),
        ("the cup isn't left of the plate", []),
        ("the dog isn\u2019t small and is left of the cat", []),
        ("the cup is green or blue", []),  # "yellow or blue" may hold
        ("the cup is left or right of the plate", []),
        ("there are not exactly two cups", []),  # nor exactly three, perhaps
    ],
)
def test_only_what_surely_becomes_false_is_turned(statement: str, kinds: list[str]) -> None:
    found = contradictions(statement, np.random.default_rng(0))
    assert [kind for _, kind in found] == kinds
    for turned, _ in found:
        pairs = list(zip(statement.split(), turned.split(), strict=True))
        assert len([a for a, b in pairs if a != b]) == 1


def test_turned_words_are_no_neighbours() -> None:
    seen = {contradictions("the cup is red", np.random.default_rng(i))[0][0] for i in range(60)}
    assert seen == {f"the cup is {c}" for c in ("yellow", "green", "blue", "purple")}
    numbers = {contradictions("exactly one cup", np.random.default_rng(i))[0][0] for i in range(9)}
    assert numbers == {"exactly two cup"}
    assert hue_in("the cup is red") == "red" and not hue_in("the red cup is old")
    assert side_in("the cup stands to the left of it") == "left" and not side_in("it is above")
    assert not side_in("the cup is left or right of it") and not hue_in("the cup is red or blue")


# What a detector finds


def pictures_of(*scenes: Scene) -> list[KnownPicture]:
    return [KnownPicture(partial(drawn, scene, 256), ()) for scene in scenes]


def test_what_a_detector_is_sure_of_is_known_and_asked_about_truly() -> None:
    known = known_by_detector(ShapesDetector(), pictures_of(TWO_AND_ONE, THREE_KINDS))
    assert [each.names for each in known] == [("circle", "square"), ("circle", "triangle")]
    # Of the shapes that are not there, those of the other picture are the likelier mistake.
    assert [each.absent for each in known] == [("triangle",), ("square",)]
    rng = np.random.default_rng(1)
    items = [item for each in known for item in known_items(each, rng)]
    assert {item.kind for item in items} == {"thing", "number", "colour", "position"}
    for item in items:
        assert is_true(item.statement, item.picture()) is item.holds, (item.statement, item.note)


class ManyBoxes(ShapesDetector):
    """Gives every thing three times, as detectors without suppression do."""

    limits = DetectionLimits(0.5, 0.5, 0.5)

    def detect(
        self, images: Sequence[Image.Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        seen = super().detect(images, names, progress)
        return [[replace(t, score=t.score - d) for t in s for d in (0, 0.1, 0.5)] for s in seen]


def test_many_boxes_of_one_thing_are_one_thing() -> None:
    (known,) = known_by_detector(ManyBoxes(), pictures_of(TWO_AND_ONE))
    assert Counter(thing.name for thing in known.things) == {"circle": 2, "square": 1}


def test_what_a_detector_is_not_sure_of_is_not_known() -> None:
    pictures = pictures_of(TWO_AND_ONE)
    assert known_by_detector(ShapesDetector(blur=0.1), pictures) == []  # below 0.9
    assert known_by_detector(ShapesDetector(blind=True), pictures) == []
    with pytest.raises(InputError, match="--things"):
        detector = ShapesDetector()
        detector.vocabulary = None  # type: ignore[assignment]
        known_by_detector(detector, pictures)


def test_pictures_of_the_miniature_are_known_unless_something_in_them_is_unclear() -> None:
    known = known_shapes("one", drawn(TWO_AND_ONE, 64))
    assert known is not None and known.picture().size == (448, 448)
    assert [(t.name, t.colour) for t in known.things] == [
        ("circle", "red"),
        ("square", "blue"),
        ("circle", "yellow"),
    ]
    assert known.absent == ("triangle", "cross")
    smeared = drawn(TWO_AND_ONE, 64)
    smeared.paste((120, 120, 120), (20, 40, 60, 50))
    assert known_shapes("two", smeared) is None
    assert known_shapes("three", Image.new("RGB", (64, 64), (245, 243, 238))) is None


# Counting


@dataclass
class Erring:
    """Knows the truth, which the top left pixel holds (white: true), and errs at known rates.

    A wrong answer comes back for the same statement with the probability `repeats`, else the answer
    is drawn anew.
    """

    rates: dict[tuple[str, bool], float]
    kinds: dict[str, str]
    repeats: float = 0.0
    seed: int = 0
    errors: dict[str, bool] = field(default_factory=dict)

    def answer(self, asked: Sequence[Asked], progress: Progress = SILENT) -> list[bool | Failure]:
        return [self._answer(each) for each in asked]

    def _answer(self, asked: Asked) -> bool:
        holds = asked.image.getpixel((0, 0)) == (255, 255, 255)
        digest = hashlib.sha256(f"{self.seed} {asked.statement} {asked.again}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        wrong = bool(rng.random() < self.rates[self.kinds[asked.statement], holds])
        if asked.again and rng.random() < self.repeats:
            wrong = self.errors[asked.statement]
        self.errors[asked.statement] = wrong
        return holds != wrong


def plain(holds: bool) -> Image.Image:
    return Image.new("RGB", (4, 4), (255, 255, 255) if holds else (0, 0, 0))


def many(count: int = 40) -> list[ExamItem]:
    return [
        ExamItem(partial(plain, holds), f"{kind} {holds} {i}", holds, kind, LABEL)
        for kind in KINDS
        for holds in (True, False)
        for i in range(count)
    ]


RATES = {
    (kind, holds): rate
    for kind, rates in zip(
        KINDS, ((0.05, 0.1), (0.1, 0.5), (0.0, 0.2), (0.2, 0.6), (0.3, 0.3)), strict=True
    )
    for holds, rate in zip((True, False), rates, strict=True)
}


def test_the_measured_intervals_contain_the_true_error_rates() -> None:
    items = many()
    kinds = {item.statement: item.kind for item in items}
    inside = total = 0
    for seed in range(20):
        exam = examine_judge(Erring(RATES, kinds, seed=seed), "erring", items, 200, seed)
        for kind in KINDS:
            errors = exam.errors.of(kind)
            assert errors.wrong_shown == errors.right_shown == 15
            for (low, high), holds in (
                (errors.miss_interval, False),
                (errors.false_alarm_interval, True),
            ):
                inside += low <= RATES[kind, holds] <= high
                total += 1
    # 200 intervals of 95 % hold the truth about 190 times; fewer than 180 has a chance of 1e-6.
    assert total == 200 and inside >= 180


@pytest.mark.parametrize("repeats", [0.0, 0.5, 0.8, 1.0])
def test_the_measured_correlation_is_that_of_errors_within_a_kind(repeats: float) -> None:
    items = many(60)
    kinds = {item.statement: item.kind for item in items}
    found = []
    for seed in range(30):
        judge = Erring(RATES, kinds, repeats, seed)
        exam = examine_judge(judge, "erring", items, 400, seed)
        assert exam.errors.correlation is not None
        assert exam.errors.wrong_before >= exam.errors.wrong_again
        found.append(exam.errors.correlation)
    # Kinds differ, so that errors of all kinds together would seem to repeat at 0.
    assert np.mean(found) == pytest.approx(repeats, abs=0.06)


def test_a_judge_without_errors_has_no_correlation() -> None:
    items = many()
    kinds = {item.statement: item.kind for item in items}
    never = dict.fromkeys(RATES, 0.0)
    errors = examine_judge(Erring(never, kinds), "perfect", items, 80).errors
    assert errors.correlation is None and errors.total.missed == errors.total.false_alarms == 0
    assert (errors.questions, errors.asked_again, errors.unanswered) == (80, 20, 0)
    assert correlation_of([], []) is None


def test_wrong_answers_are_asked_again_each_with_a_right_one_of_its_kind() -> None:
    items = many(4)
    wrong = {items[0].statement, items[5].statement}
    answers = [GivenAnswer(i, i.holds != (i.statement in wrong)) for i in items]
    due = to_ask_again(answers, 4, np.random.default_rng(0))
    assert sum(answer.wrong for answer in due) == 2
    cells = Counter((answer.item.kind, answer.item.holds) for answer in due)
    assert set(cells.values()) == {2}


def test_the_users_pictures_come_first_and_scenes_fill_up() -> None:
    own = many(2)
    chosen = chosen_items(own, 50, np.random.default_rng(0))
    cells = Counter((item.kind, item.holds, item.source) for item in chosen)
    assert set(cells) == {(k, h, s) for k in KINDS for h in (True, False) for s in (LABEL, SCENE)}
    assert {cells[k, h, LABEL] for k in KINDS for h in (True, False)} == {2}
    assert [item.source for item in chosen] == [LABEL] * 20 + [SCENE] * 30
    again = chosen_items(own, 50, np.random.default_rng(0))
    assert [item.statement for item in again] == [item.statement for item in chosen]


def test_an_exam_ends_early_for_a_judge_that_says_nothing() -> None:
    vlm = ScriptedVlm(on_choose=lambda _: Failure("The server is gone."))
    exam = examine_judge(ModelAnswers(vlm), "dead", many(), 80)
    assert exam.problem == "The server is gone." and len(vlm.asked) == 24
    assert exam.errors.questions == 0 and exam.errors.unanswered == 24


def test_some_failures_are_counted_and_measured_around() -> None:
    calls = iter(range(10**6))
    vlm = ScriptedVlm(on_choose=lambda _: Failure("Busy.") if next(calls) % 4 == 0 else (0.9, 0.1))
    errors = examine_judge(ModelAnswers(vlm), "busy", many(), 80).errors
    assert errors.unanswered == 20 and errors.questions == 60
    assert errors.total.missed == errors.total.wrong_shown > 0


# Asking


def said(question: Question) -> str:
    match = re.search(r"<data>(?:Does the picture show this: )?(.*)</data>", question.text)
    assert match
    return match[1]


def seeing(question: Question) -> tuple[float, float]:
    right = is_true(said(question), question.images[0])
    return (0.9, 0.1) if right else (0.1, 0.9)


def test_a_model_that_sees_scenes_makes_no_error_in_either_wording() -> None:
    vlm = ScriptedVlm(on_choose=seeing)
    exam = examine_judge(ModelAnswers(vlm), "seeing", [], 40)
    total = exam.errors.total
    assert (total.missed, total.false_alarms) == (0, 0)
    assert total.wrong_shown == total.right_shown == 15
    texts = {question.text.splitlines()[0] for question in vlm.asked}
    assert len(texts) == 2 and exam.errors.asked_again == 10
    assert exam.errors.pictures == "drawn scenes (30)"


def test_a_verifier_is_asked_by_its_own_style() -> None:
    vlm = ScriptedVlm(on_choose=lambda _: (0.2, 0.8))
    judge = VerifierAnswers(YesNoVerifier(vlm))
    image = Image.new("RGB", (40, 40))
    assert judge.answer([Asked(image, "a cup"), Asked(image, "a cup", again=True)]) == [False] * 2
    assert "This picture was painted from a prompt" in vlm.asked[0].text
    assert vlm.asked[0].images[0].size == (40, 40) != vlm.asked[1].images[0].size
    exact = VerifierAnswers(ExactVerifier())
    scene = drawn(TWO_AND_ONE, 64)
    ok, bad = exact.answer([Asked(scene, "two circles"), Asked(scene, "a nice day")])
    assert ok is False  # there is a square as well
    assert isinstance(bad, Failure) and "nice day" in bad.reason


class Ranks(ExactVerifier):
    """Says of no picture whether it has passed."""

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        return [replace(v, passed=None) for v in super().verify(prompt, images, progress)]


def test_a_verifier_that_only_ranks_gives_no_answer() -> None:
    (answer,) = VerifierAnswers(Ranks()).answer([Asked(drawn(THREE_KINDS, 64), "a red circle")])
    assert isinstance(answer, Failure) and "does not say whether" in answer.reason
