"""Judges that share a prompt's needs: `pytest tests/core/test_routed.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from core.test_objects import BLUE, GREEN, RED, drawn, verifier
from core.test_text_verifier import ScriptedReader, at
from PIL import Image
from scripted_vlm import ScriptedVlm, silent

from reflectionflow_core.detection.needs import Needs, Panel, needs_of
from reflectionflow_core.detection.routed import RoutedVerifier
from reflectionflow_core.evidence import Evidence
from reflectionflow_core.protocols import SILENT, Counting, Rechecking
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import ActorChoice, build_verifier
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.verifiers.ensemble import EnsembleVerifier
from reflectionflow_core.verifiers.spec import parse_verifiers, shares_needs
from reflectionflow_core.verifiers.text.verifier import TextVerifier
from reflectionflow_core.verifiers.text.wanted import without_texts
from reflectionflow_core.vlm.interface import Failure, Question

YES, NO = (0.9, 0.1), (0.2, 0.8)
WOOD = {
    "statement": "made of wood",
    "question": "Is it made of wood?",
    "fault": "not made of wood",
}
OPEN = 'a red circle and a sign that says "OPEN"'


class Model:
    """Takes prompts apart as it is told and answers each question by a word in it."""

    def __init__(
        self, things: Sequence[dict] = (), rest: Sequence[dict] = (), no: Sequence[str] = ()
    ) -> None:
        self.things, self.rest, self.no = list(things), list(rest), no
        self.vlm = ScriptedVlm(self.chat, self.choose)

    def chat(self, question: Question) -> str:
        if '"requirements"' in question.text:
            return json.dumps({"requirements": self.rest})
        return json.dumps({"things": self.things, "rest": self.rest})

    def choose(self, question: Question) -> tuple[float, float]:
        return NO if any(word in question.text for word in self.no) else YES

    @property
    def asked(self) -> list[str]:
        """The questions about pictures."""
        return [q.text.split("<data>")[1].split("</data>")[0] for q in self.vlm.asked if q.images]


def panel(model: Model | None, text: TextVerifier | None = None, objects: bool = True) -> Panel:
    return Panel(
        verifier() if objects else None,
        text or TextVerifier(ScriptedReader()),
        ChecklistVerifier(model.vlm) if model else None,
    )


def judge(model: Model | None, lines: Sequence = (), objects: bool = True) -> RoutedVerifier:
    parts = panel(model, TextVerifier(ScriptedReader(lines)), objects)
    return RoutedVerifier(parts.objects, parts.text, parts.checklist)


def shared(
    prompt: str, model: Model | None = None, objects: bool = True
) -> tuple[list[str], list[str], list[str]]:
    """What the detector looks for, what the OCR reads, and what the model is asked."""
    found = needs_of(panel(model, objects=objects), prompt, SILENT)
    assert isinstance(found, Needs)
    task = found.objects.task if found.objects else None
    needs = (*task.include, *task.exclude) if task else ()
    things = [" ".join(filter(None, (n.colour, n.name, n.relation))) for n in needs]
    return things, [t.text for t in found.text.texts], [c.statement for c in found.checklist]


@pytest.mark.parametrize(
    ("prompt", "things", "texts", "asked"),
    [
        ("a red circle", ["red circle"], [], []),
        (OPEN, ["red circle"], ["OPEN"], []),
        ('"OPEN"', [], ["OPEN"], []),
        ('a poster with the words "A" and "B"', [], ["A", "B"], []),
        ("a circle and a zeppelin", ["circle"], [], ["a zeppelin"]),
        (
            "two circles and exactly three zeppelins",
            ["circle"] * 2,
            [],
            ["exactly three zeppelins"],
        ),
        ("a circle, no zeppelins", ["circle"], [], ["no zeppelins"]),
        ("at most two zeppelins and a circle", ["circle"], [], ["at most two zeppelins"]),
        (
            "a circle left of a zeppelin",
            ["circle"],
            [],
            ["a zeppelin", "circle left of the zeppelin"],
        ),
        ("a square left of a circle", ["circle", "square left of"], [], []),
        ('a red sign that says "OPEN" and a circle', ["circle"], ["OPEN"], ["a red sign"]),
        ('two signs that say "OPEN"', [], ["OPEN"], ["exactly two signs"]),
        ("a circle and a sign", ["circle"], [], ["a sign"]),
        ('a circle and a sign that says "ОТКРЫТО"', ["circle"], [], ['the text "ОТКРЫТО"']),
        (
            'signs that say "OPEN" and "ОТКРЫТО", no other text',
            [],
            ["OPEN"],
            ['the text "ОТКРЫТО"', "no other text", "at least two signs"],
        ),
        ("a circle without any text", ["circle"], [], []),
    ],
)
def test_every_need_goes_to_the_judge_that_sees_it(
    prompt: str, things: list[str], texts: list[str], asked: list[str]
) -> None:
    model = Model()
    found = shared(prompt, model)
    assert (sorted(set(found[0])), found[1], sorted(found[2])) == (
        sorted(set(things)),
        texts,
        sorted(asked),
    )
    assert not model.vlm.asked  # a plain prompt is taken apart by rules


def test_other_prompts_are_taken_apart_by_one_question_for_all_judges() -> None:
    model = Model([{"name": "circle", "number": 2, "how": "exactly"}, {"name": "owl"}], [WOOD])
    prompt = 'a woodcut of two circles and an owl under a sign that says "OPEN"'
    assert shared(prompt, model) == (
        ["circle", "circle"],
        ["OPEN"],
        ["made of wood", "an owl"],
    )
    (question,) = model.vlm.asked
    assert "circle, square, triangle" in question.text
    assert "another judge reads the words in quotation marks" in question.text


def test_without_a_detector_the_model_takes_all_apart_but_the_words() -> None:
    model = Model(rest=[WOOD])
    assert shared(OPEN, model, objects=False) == ([], ["OPEN"], ["made of wood"])
    assert "another judge reads the words" in model.vlm.asked[0].text
    assert shared('a sign that says "OPEN"', model, objects=False) == ([], ["OPEN"], [])
    assert len(model.vlm.asked) == 1


def test_positions_that_rules_cannot_hold_and_other_colours_are_asked() -> None:
    things = [
        {"name": "circle", "colour": "golden"},
        {"name": "square", "relation": "left of", "of": 0},
        {"name": "triangle", "relation": "above", "of": 0},
        {"name": "square", "relation": "above", "of": 2},
    ]
    found, _, asked = shared("a golden circle among many things", Model(things))
    assert not found  # nothing tells one square from the other
    assert "golden circle" in asked and "square above the triangle" in asked


@pytest.mark.parametrize(
    ("prompt", "match"),
    [
        ("a circle and a zeppelin", "does not know 'zeppelin'"),
        ("a circle on a roof", "Write it plainly .*add the judge checklist"),
        ('a red sign that says "OPEN"', "does not know 'sign'"),
        ('a sign that says "ОТКРЫТО"', "letters or signs that the verifier text cannot read"),
        ("a circle left of a zeppelin", "does not know 'zeppelin'"),
        ('a sign that says "--"', "no letters or digits"),
        ('a sign that says "OPEN', "never closed"),
    ],
)
def test_what_nobody_sees_is_told_before_the_first_picture(prompt: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        judge(None).verify(prompt, [])


def test_a_picture_is_judged_by_all_and_each_need_counts_once() -> None:
    model = Model([{"name": "circle", "colour": "red"}], [WOOD])
    prompt = 'a wooden red circle under a sign that says "OPEN"'
    both = judge(model, [at("OPEN")])
    (right,) = both.verify(prompt, [drawn(RED)])
    assert right.passed and not right.unmet
    assert right.score == pytest.approx((2 * 1 + 1 * 1 + 1 * (1 + 0.9) / 2) / 4)
    assert model.asked == ["Is it made of wood?"]
    assert {e.text for e in right.evidence} == {"red circle", 'the text "OPEN"'}
    assert right.aspects == {"OPEN": 1.0, "made of wood": 0.9}


def test_the_model_is_asked_only_about_pictures_without_other_faults() -> None:
    model = Model([{"name": "circle", "colour": "red"}], [WOOD], no=["wood"])
    both = judge(model)
    prompt = "a wooden red circle hangs"
    wrong, unwooden, missing = both.verify(prompt, [drawn(GREEN), drawn(RED), drawn(BLUE)])
    assert model.asked == ["Is it made of wood?"]
    assert wrong.unmet == ("circle is not red",) and wrong.passed is False
    assert unwooden.unmet == ("not made of wood",) and unwooden.passed is False
    assert missing.unmet == ("missing a red circle",)
    assert unwooden.score > wrong.score > missing.score  # type: ignore[operator]
    assert "circle; checklist: not asked, since there are faults" in wrong.explanation


def test_calls_are_counted_and_estimated() -> None:
    model = Model([{"name": "circle"}], [WOOD])
    both = judge(model)
    assert isinstance(both, Counting) and isinstance(both, Rechecking)
    assert both.verify("a wooden circle hangs", []) == []
    assert both.spent == 0  # of which a search, which measures around pictures, would never know
    both.verify("a wooden circle hangs", [drawn(RED), drawn(RED)])
    assert both.spent == len(model.vlm.asked) == 3 and both.calls == 1
    both.verify("a red circle", [])
    assert both.calls == 0  # the price is that of the prompt at hand
    both.verify("a wooden circle hangs", [])
    assert both.calls == 1
    both.verify("a circle", [drawn(RED)])
    assert both.spent == 3 and both.calls == 0


def test_a_correction_is_asked_again_about_what_its_parent_lacked() -> None:
    other = {**WOOD, "statement": "at dusk", "question": "Is it dusk?", "fault": "not at dusk"}
    model = Model([{"name": "circle"}], [WOOD, other], no=["wood"])
    both = judge(model)
    prompt = "a wooden circle at dusk"
    (parent,) = both.verify(prompt, [drawn(RED)])
    both.recheck(prompt, [drawn(RED)], [parent])
    assert model.asked == ["Is it made of wood?", "Is it dusk?", "Is it made of wood?"]


def test_a_server_that_fails_leaves_pictures_unjudged_and_is_asked_again() -> None:
    vlm = ScriptedVlm(lambda _: Failure("The server is loading.", temporary=True))
    both = RoutedVerifier(verifier(), None, ChecklistVerifier(vlm))
    assert both.verify("a circle hangs", []) == []
    (verdict,) = both.verify("a circle hangs", [drawn(RED)])
    assert not verdict.judged and verdict.explanation == "The server is loading."
    vlm.on_chat = Model([{"name": "circle"}]).chat
    assert both.verify("a circle hangs", [drawn(RED)])[0].passed


def test_a_model_that_cannot_take_apart_is_asked_about_the_whole_prompt() -> None:
    vlm = ScriptedVlm(lambda _: "I cannot.", lambda _: YES)
    both = RoutedVerifier(
        verifier(), TextVerifier(ScriptedReader([at("OPEN")])), ChecklistVerifier(vlm)
    )
    (verdict,) = both.verify('a circle hangs over "OPEN"', [drawn(RED)])
    assert verdict.passed and list(verdict.aspects) == ["OPEN", 'a circle hangs over "OPEN"']


def test_a_picture_that_one_judge_cannot_judge_is_not_judged() -> None:
    model = Model([{"name": "circle"}], [WOOD])
    model.vlm.on_choose = silent
    (verdict,) = judge(model).verify("a wooden circle hangs", [drawn(RED)])
    assert not verdict.judged and verdict.explanation == "The server does not answer."


def test_boxes_of_the_models_faults_come_with_it() -> None:
    model = Model([{"name": "circle"}], [WOOD], no=["wood"])
    checklist = ChecklistVerifier(model.vlm, ground=True)
    places = json.dumps({"places": [{"fault": 1, "box": [0, 0, 500, 500]}]})
    model.vlm.on_chat = lambda q: places if q.images else model.chat(q)
    both = RoutedVerifier(verifier(), None, checklist)
    (verdict,) = both.verify("a wooden circle hangs", [drawn(RED)])
    assert Evidence("not made of wood", (0.0, 0.0, 0.5, 0.5)) in verdict.evidence
    assert both.calls == 2 and both.spent == 3


def test_one_judge_alone_shares_nothing() -> None:
    with pytest.raises(InputError, match="at least two judges"):
        RoutedVerifier(verifier())


@pytest.mark.parametrize(
    ("spec", "shares"),
    [
        ("objects+text+checklist", True),
        ("checklist+text", True),
        ("objects:FILE+checklist", True),
        ("2*objects+text", False),
        ("objects+objects:FILE", False),
        ("objects+exact", False),
        ("objects", False),
    ],
)
def test_only_these_judges_unweighted_share_needs(spec: str, shares: bool) -> None:
    names = ("objects", "text", "checklist", "exact")
    assert shares_needs(parse_verifiers(spec, names)) is shares


def test_names_build_it_also_as_a_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = ScriptedVlm()
    monkeypatch.setattr("reflectionflow_core.registry.build_vlm", lambda *_: vlm)
    built = build_verifier(ActorChoice(verifier="text+checklist", vlm="endpoint:x", ground=True))
    assert isinstance(built, RoutedVerifier) and built.panel.checklist is not None
    assert built.panel.checklist.ground and built.panel.names == "text and checklist"
    gated = build_verifier(ActorChoice(verifier="exact", gate="text+checklist", vlm="endpoint:x"))
    assert isinstance(gated, EnsembleVerifier) and isinstance(gated.gate, RoutedVerifier)
    with pytest.raises(InputError, match="is several verifiers"):
        build_verifier(ActorChoice(gate="exact+text"))


@pytest.mark.parametrize(
    ("prompt", "rest"),
    [
        ('a sign that says "OPEN"', "a sign"),
        ('a cat, and a poster with the text "SALE", no dogs', "a cat, and a poster, no dogs"),
        ('the word "HELLO" on a mug', "a mug"),
        ("a photo of a cat without any text", "a photo of a cat"),
        ('a sign that says "OPEN" on a red wall', "a sign on a red wall"),
        ('a bottle labelled "WINE" on a shelf and a cat', "a bottle on a shelf and a cat"),
        ('the word "HI" written on a wall', "a wall"),
        ('a poster, no other text, "SUMMER"', "a poster"),
        ('a sign that does not say "SALE"', "a sign"),
        ('a T-shirt with "I" printed on it and a dog', "a T-shirt and a dog"),
        ("A sign which reads “Closed”. A cat.", "A sign. A cat."),
        ('a storefront: "Bakery"', "a storefront"),
        ('"A", "B" and "C" on a wall', "a wall"),
        ('with the title "A"', ""),
        ("the dogs' house", "the dogs' house"),
    ],
)
def test_a_prompt_without_its_texts(prompt: str, rest: str) -> None:
    assert without_texts(prompt) == rest


def test_no_pictures_and_no_size_break_it() -> None:
    both = judge(None, [at("OPEN")])
    assert both.verify(OPEN, []) == []
    (tiny,) = both.verify(OPEN, [Image.new("RGB", (1, 1))])
    assert tiny.passed is False and "missing a red circle" in tiny.unmet
