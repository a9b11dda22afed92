"""Interleaved and in-context searches, and the actors that they were made for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from asking import about
from fakes import Toys
from PIL import Image
from scripted_vlm import ScriptedVlm

from reflectionflow_core.evolvers.vlm import VlmEvolver
from reflectionflow_core.record import Candidate, History, InputError, Verdict
from reflectionflow_core.search import search
from reflectionflow_core.search.strategies.in_context import context_of
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.writers.reflection_generator import REQUEST, ReflectionGeneratorWriter
from reflectionflow_core.writers.template import TemplateWriter
from reflectionflow_core.writers.two_lists import KEEP, TwoListsWriter
from reflectionflow_core.writers.vlm import VlmWriter

PROMPT = "two green bowls"
THOUGHT = "two green bowls, side by side on a table"


def seen(*unmet: str, reflection: str = "", parent: Candidate | None = None) -> Candidate:
    verdict = Verdict(0.5, False, unmet=unmet)
    return Candidate(Image.new("RGB", (8, 8)), PROMPT, 0, verdict, reflection, parent)


def found(toys: Toys, **changes: object) -> History:
    *_, history = search(PROMPT, replace(SearchSettings(), **changes), toys.actors())
    return history


# ---------------------------------------------------------------- interleaved


def test_each_draft_is_repainted_from_the_same_thought_and_no_prompt_evolves() -> None:
    toys = Toys()
    history = found(toys, strategy="interleaved", depth=1, draft_prompt=THOUGHT)
    assert [c.prompt for c in history] == [THOUGHT] * 4
    assert [c.action for c in history] == ["draft"] * 2 + ["repaint"] * 2
    assert not toys.evolver.log and toys.writer.log[0][0] == PROMPT
    assert {c.prompt for c in found(Toys(), strategy="interleaved", depth=1)} == {PROMPT}


def test_a_repaint_that_scores_lower_is_not_gone_on_from() -> None:
    history = found(Toys(), strategy="interleaved", depth=6, width=3, seed=4)
    dropped = 0
    for before, repaints, after in zip(
        history.rounds, history.rounds[1:], history.rounds[2:], strict=False
    ):
        for repaint, child in zip(repaints, after, strict=True):
            assert repaint.parent is not None and child.parent is not None
            assert repaint.parent in history
            assert child.parent.rank >= repaint.rank
            assert child.parent is (
                repaint if repaint.rank >= repaint.parent.rank else repaint.parent
            )
            dropped += child.parent is not repaint
        assert before
    assert dropped


def two_lists(answer: object, **how: int) -> tuple[TwoListsWriter, list[Question]]:
    asked: list[Question] = []
    text = answer if isinstance(answer, Failure) else json.dumps(answer)
    vlm = ScriptedVlm(lambda question: asked.append(question) or text)
    return TwoListsWriter(vlm, **how), asked


def test_two_lists_become_one_reflection_wrong_before_crude() -> None:
    answer = {
        "wrong": ["add a second bowl"],
        "crude": ["give the wood a grain", "soften the light"],
    }
    writer, asked = two_lists(answer)
    (told,) = writer.reflect(PROMPT, about([seen("missing a bowl")]))
    assert told == (
        f"Mend: Add a second bowl. Refine: Give the wood a grain. Soften the light. {KEEP}"
    )
    assert "missing a bowl" in asked[0].text and writer.spent == 1
    passed = replace(seen(), verdict=Verdict(1.0, passed=True))
    assert writer.reflect(PROMPT, about([passed])) == [told]  # it may be crude all the same
    writer, _ = two_lists({"wrong": ["one two " * 40, "add a bowl"], "crude": ["x"]}, max_words=20)
    (told,) = writer.reflect(PROMPT, about([passed]))
    assert len(told.split()) <= 20 and told.endswith(KEEP)


def test_with_nothing_to_say_or_no_answer_two_lists_change_nothing_but_what_is_unmet() -> None:
    writer, _ = two_lists({"wrong": [], "crude": []})
    assert writer.reflect(PROMPT, about([seen("x")])) == [""]
    writer, _ = two_lists(Failure("The server does not answer."))
    assert writer.reflect(PROMPT, about([seen("missing a red circle"), seen()])) == [
        "add a red circle",
        "",
    ]
    with pytest.raises(InputError, match="5 words are too few"):
        two_lists({}, max_words=5)


# ---------------------------------------------------------------- in context


def test_whoever_can_look_at_several_pictures_sees_the_same_earlier_ones() -> None:
    toys = Toys()
    history = found(toys, strategy="in-context", depth=4, width=2, context=2, batch_size=2)
    shown = [[request.context for request in asked[-1]] for asked in toys.corrector.log]
    for actor in (toys.writer, toys.evolver):
        assert [[request.context for request in asked[-1]] for asked in actor.log] == shown
    assert shown.pop(0) == [(), ()]  # the first correction has nothing before its parent
    assert len(shown) == 3
    for index, contexts in enumerate(shown, start=1):
        for position, context in enumerate(contexts):
            parent = history.rounds[index][position]
            # All have one fault, so of all before the parent the latest alone is shown.
            assert context == (parent.parent,)


def test_actors_that_ignore_the_context_do_as_ever() -> None:
    plain = found(Toys(), strategy="reflection", depth=3)
    in_context = found(Toys(), strategy="in-context", depth=3)
    assert [c.image.tobytes() for c in plain] == [c.image.tobytes() for c in in_context]


def test_a_context_is_the_latest_pictures_whose_faults_differ_oldest_first() -> None:
    first, again, other, third, parent = chain = [
        seen("a"), seen("b"), seen("a"), seen("c"), seen("c"),
    ]  # fmt: skip
    assert context_of(chain, parent, 8) == (again, other, third)
    assert context_of(chain, parent, 2) == (other, third)
    assert context_of(chain, parent, 0) == ()
    assert context_of(chain, third, 8) == (again, other, parent)  # what was not gone on from
    assert first not in context_of(chain, parent, 8)


def test_the_template_takes_another_fault_before_it_asks_again() -> None:
    writer, before = TemplateWriter(), seen("x")
    tried = seen("missing a red circle", "extra blue square", reflection="add a red circle")
    (text,) = writer.reflect(PROMPT, about([tried], before))
    assert text == "remove the blue square"
    later = replace(tried, reflection="remove the blue square")
    assert writer.reflect(PROMPT, about([later], tried)) == ["add a red circle"]
    both = replace(tried, reflection="add a red circle and remove the blue square")
    assert writer.reflect(PROMPT, about([both], before)) == ["add a red circle"]
    assert writer.reflect(PROMPT, about([seen("x", "y")], before)) == [
        "fix this: x and fix this: y"
    ]
    assert writer.reflect(PROMPT, about([seen()], tried)) == [""]
    assert writer.reflect(PROMPT, about([tried])) == ["add a red circle and remove the blue square"]


def test_models_are_shown_the_earlier_pictures_and_what_came_of_them() -> None:
    asked: list[Question] = []
    vlm = ScriptedVlm(lambda question: asked.append(question) or "{}")
    earlier = seen("the bowl is red", reflection="paint the bowl green")
    now = seen("one bowl only")
    VlmWriter(vlm).reflect(PROMPT, about([now], earlier))
    VlmEvolver(vlm).evolve(PROMPT, about([now], earlier))
    for question in (asked[0], asked[2]):  # each is asked twice, for it talks nonsense
        assert question.images == (now.image, earlier.image)
        assert "Picture 2 is an earlier attempt, made as this asked" in question.text
        assert "paint the bowl green" in question.text and "the bowl is red" in question.text
    asked.clear()
    VlmWriter(vlm).reflect(PROMPT, about([now]))
    assert asked[0].images == (now.image,) and "earlier attempt" not in asked[0].text


def test_the_reflection_generator_keeps_to_its_one_line() -> None:
    asked: list[Question] = []
    vlm = ScriptedVlm(lambda question: asked.append(question) or "add a bowl")
    writer = ReflectionGeneratorWriter(vlm)
    assert writer.reflect(PROMPT, about([seen("x")], seen("y"))) == ["add a bowl"]
    assert asked == [Question(REQUEST.format(prompt=PROMPT), asked[0].images)]
    assert len(asked[0].images) == 1
