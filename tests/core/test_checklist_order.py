"""A checklist asks about what is there, as few questions as that takes, all beginning alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image
from scripted_vlm import ScriptedVlm

from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.vlm.interface import Failure, PictureKeeping, Question
from reflectionflow_core.vlm.wire import body

PROMPT = "a red cup left of a plate, at night"
NIGHT = {"statement": "night", "question": "Is it night?", "fault": "it is not night"}
CUP = {"statement": "a cup", "question": "Is there a cup?", "fault": "missing a cup"}
RED = {"statement": "red", "question": "Is the cup red?", "fault": "cup is not red", "needs": [2]}
PLATE = {"statement": "a plate", "question": "Is there a plate?", "fault": "missing a plate"}
LEFT = {"statement": "left", "question": "Is it left of it?", "fault": "", "needs": [2, 4]}
DARK = {"statement": "dark red", "question": "Is it a dark red?", "needs": [3]}
ITEMS = [NIGHT, CUP, RED, PLATE, LEFT, DARK]
DOWN = Failure("The server does not answer.")


def said(question: Question) -> str:
    """What a question asks."""
    return next(item["question"] for item in ITEMS if item["question"] in question.text)


def judge(
    *missing: str, items: Sequence[dict[str, Any]] = ITEMS, fails: str = ""
) -> tuple[ChecklistVerifier, ScriptedVlm]:
    """A verifier whose model says no to the `missing` questions, and does not answer `fails`."""

    def choose(question: Question) -> tuple[float, float] | Failure:
        if said(question) == fails:
            return DOWN
        return (0.1, 0.9) if said(question) in missing else (0.8, 0.2)

    vlm = ScriptedVlm(lambda _: json.dumps({"requirements": list(items)}), choose)
    return ChecklistVerifier(vlm), vlm


def pictures(count: int = 1) -> list[Image.Image]:
    return [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(count)]


def test_things_are_asked_for_before_what_they_are_like() -> None:
    verifier, vlm = judge()
    (verdict,) = verifier.verify(PROMPT, pictures())
    assert vlm.batches == [1, 3, 2, 1]
    order = [NIGHT, CUP, PLATE, RED, LEFT, DARK]
    assert [said(question) for question in vlm.asked[1:]] == [item["question"] for item in order]
    assert verdict.passed
    assert verifier.spent == 7


def test_nothing_is_asked_about_what_is_not_there() -> None:
    verifier, vlm = judge(CUP["question"])
    (verdict,) = verifier.verify(PROMPT, pictures())
    assert vlm.batches == [1, 3]
    assert verdict.unmet == (
        "missing a cup",
        "cup is not red",
        "not as asked: left",
        "not as asked: dark red",
    )
    assert [verdict.aspects[name] for name in ("red", "left", "dark red")] == [0.1, 0.1, 0.1]
    assert "not asked: red, without a cup" in verdict.explanation
    assert "not asked: dark red, without red" in verdict.explanation
    assert verdict.passed is False


def test_a_picture_scores_as_if_a_judge_had_said_no_to_all_of_it() -> None:
    asked_less, _ = judge(CUP["question"])
    without = [{**item, "needs": []} for item in ITEMS]
    needing = [item["question"] for item in (CUP, RED, LEFT, DARK)]
    asked_all, vlm = judge(*needing, items=without)
    (short,), (whole,) = (v.verify(PROMPT, pictures()) for v in (asked_less, asked_all))
    assert (short.score, short.unmet) == (whole.score, whole.unmet)
    assert vlm.batches == [1, 6]


def test_pictures_differ_in_what_is_asked_of_them() -> None:
    verifier, vlm = judge()

    def choose(question: Question) -> tuple[float, float]:
        bare = question.images[0].getpixel((0, 0)) == (1, 0, 0)
        return (0.1, 0.9) if bare and said(question) == CUP["question"] else (0.8, 0.2)

    vlm.on_choose = choose
    full, bare = verifier.verify(PROMPT, pictures(2))
    assert vlm.batches == [1, 6, 2, 1]
    assert (full.passed, bare.passed) == (True, False)


def test_a_need_without_an_answer_rules_nothing_out() -> None:
    verifier, vlm = judge(fails=CUP["question"])
    (verdict,) = verifier.verify(PROMPT, pictures())
    assert vlm.batches == [1, 3, 2, 1]
    assert verdict.passed is None
    assert verdict.unmet == ()


@pytest.mark.parametrize(
    "needs", [None, "2", ["2"], [0, 2, 99, 3], [2, 2], [{}, "two", 2.5, -1], "cup", [[2]]]
)
def test_references_that_lead_nowhere_cost_nothing(needs: Any) -> None:
    verifier, vlm = judge(items=[NIGHT, CUP, {**RED, "needs": needs}])
    (verdict,) = verifier.verify(PROMPT, pictures())
    assert verdict.passed
    assert sum(vlm.batches) == 4


def test_requirements_that_need_each_other_are_asked_together() -> None:
    circle = [{**CUP, "needs": [2]}, {**PLATE, "needs": [1]}, {**NIGHT, "needs": [3]}]
    verifier, vlm = judge(items=circle)
    (verdict,) = verifier.verify(PROMPT, pictures())
    assert vlm.batches == [1, 1, 2]
    assert verdict.passed


class Keeping(ScriptedVlm):
    """A model to which more questions about a picture are cheap."""

    kept = 0

    @contextmanager
    def keeping_pictures(self) -> Iterator[None]:
        self.kept += 1
        yield
        self.kept -= 1

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> Any:
        assert self.kept == 1
        return super().choose(questions, choices, progress, phase)


def test_a_model_that_keeps_a_picture_is_asked_all_about_it_before_the_next() -> None:
    apart, plain = judge(CUP["question"])
    keeping = Keeping(plain.on_chat, plain.on_choose)
    assert isinstance(keeping, PictureKeeping) and not isinstance(plain, PictureKeeping)
    in_turn = ChecklistVerifier(keeping)
    assert in_turn.verify(PROMPT, pictures(3)) == apart.verify(PROMPT, pictures(3))
    assert keeping.batches == [1, 3, 3, 3]
    assert plain.batches == [1, 9]
    assert keeping.kept == 0


def test_all_questions_about_a_picture_begin_with_the_same_bytes() -> None:
    """So a server with a prefix cache reads the picture, and what is asked of it always, once."""
    verifier, vlm = judge()
    verifier.verify(PROMPT, pictures())
    sent = [json.dumps(body(q, "m", {}, frozenset())["messages"]) for q in vlm.asked[1:]]
    assert len(sent) == len(ITEMS)
    for item, text in zip([said(q) for q in vlm.asked[1:]], sent, strict=True):
        begun, own = text.split(item)
        assert text.startswith(sent[0].split(said(vlm.asked[1]))[0])
        assert "data:image/png;base64," in begun and "yes or no" in begun
        assert len(own) < 40
