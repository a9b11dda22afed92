"""What a model fails to do is said as it happens, and nothing made for want of an answer is kept.

`pytest tests/core/test_vlm_failures.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Toys, Watcher
from PIL import Image
from scripted_vlm import ScriptedVlm
from vlm_asking import FAST, endpoint_of
from vlm_server import Reply, VlmServer, refuses, says, too_many

from reflectionflow_core.archive import files
from reflectionflow_core.cli import main
from reflectionflow_core.evolvers.think_first import PromptExpander
from reflectionflow_core.evolvers.vlm import VlmEvolver
from reflectionflow_core.inspectors.vlm import VlmInspector
from reflectionflow_core.planners.vlm import VlmPlanner
from reflectionflow_core.record import Candidate, InputError, Request, Stage, Verdict
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.verifiers.rubric import RubricVerifier
from reflectionflow_core.vlm.failures import tells_failures
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.writers.reflection_generator import ReflectionGeneratorWriter
from reflectionflow_core.writers.two_lists import TwoListsWriter
from reflectionflow_core.writers.vlm import VlmWriter

LOADING = Failure("The endpoint mine answered 503; try again later.", temporary=True)
BABBLE = Failure("The model's answer contains no JSON object.")
PICTURES = [Image.new("RGB", (8, 8), (i, i, i)) for i in (10, 200)]
LIST = json.dumps(
    {
        "requirements": [
            {"statement": "a cup", "question": "Is a cup there?", "fault": "missing a cup"},
            {"statement": "a plate", "question": "Is a plate there?", "fault": "missing a plate"},
        ]
    }
)
STAGE = Stage("add a cup", "a cup", ("a cup",))


def requests() -> list[Request]:
    verdict = Verdict(0.1, False, unmet=("missing a cup",))
    return [Request(0, parent=Candidate(image, "a cup", 0, verdict)) for image in PICTURES]


def failing_at_the_dark(question: Question) -> str | Failure:
    dark = question.images and question.images[0].getpixel((0, 0)) == (10, 10, 10)
    good = {"edits": ["add it"], "prompt": "a cup, large", "wrong": ["add it"], "crude": []}
    good |= {"missing": [], "later": [], "refine": ""}
    return LOADING if dark else json.dumps(good)


ACTORS: dict[str, Callable[[Any, Watcher], list]] = {
    "The writer": lambda vlm, watch: VlmWriter(vlm).reflect("a cup", requests(), watch),
    "The writer ": lambda vlm, watch: TwoListsWriter(vlm).reflect("a cup", requests(), watch),
    "The writer  ": lambda vlm, watch: ReflectionGeneratorWriter(vlm).reflect(
        "a cup", requests(), watch
    ),
    "The evolver": lambda vlm, watch: VlmEvolver(vlm).evolve("a cup", requests(), watch),
    "The inspector": lambda vlm, watch: VlmInspector(vlm).inspect(
        "a cup", [STAGE, STAGE], PICTURES, watch
    ),
}


@pytest.mark.parametrize("who", ACTORS)
def test_a_failing_actor_is_one_line_as_it_happens(who: str) -> None:
    watch = Watcher()
    vlm = ScriptedVlm(failing_at_the_dark, lambda _: (1.0, 0.0))
    assert len(ACTORS[who](vlm, watch)) == 2
    (line,) = watch.said
    assert tells_failures(line)
    assert line.startswith(f"{who.strip()} failed at 1 of 2; ") and line.endswith(LOADING.reason)


def test_a_wait_for_a_server_is_no_failure() -> None:
    for line in ("loads its model and is waited for.", "could not be reached; it is asked again."):
        assert not tells_failures(f"The endpoint mine {line}")


@pytest.mark.parametrize("who", ACTORS)
def test_an_actor_that_answers_says_nothing(who: str) -> None:
    watch = Watcher()
    vlm = ScriptedVlm(
        lambda _: failing_at_the_dark(Question("", (PICTURES[1],))),
        lambda _: (1.0, 0.0),
    )
    ACTORS[who](vlm, watch)
    assert watch.said == []


def test_a_second_look_that_fails_is_said_and_uses_nothing_unseen() -> None:
    watch = Watcher()
    vlm = ScriptedVlm(lambda _: '{"prompt": "a cup, large"}', lambda _: LOADING)
    assert VlmEvolver(vlm).evolve("a cup", requests(), watch) == ["a cup", "a cup"]
    (line,) = watch.said
    assert tells_failures(line)
    assert line.startswith("The second look failed at 2 of 2; the prompt is used as it was given")


def judge(question: Question) -> str | Failure:
    return LIST if "Take the prompt apart" in question.text else BABBLE


def test_a_checklist_that_a_loading_server_could_not_make_is_made_later() -> None:
    up = False
    vlm = ScriptedVlm(lambda q: judge(q) if up else LOADING, lambda _: (0.9, 0.1))
    verifier, watch = ChecklistVerifier(vlm), Watcher()
    assert [v.failure for v in verifier.verify("a cup", PICTURES, watch)] == [LOADING.reason] * 2
    up = True
    for verdict in verifier.verify("a cup", PICTURES, watch):
        assert set(verdict.aspects) == {"a cup", "a plate"}
    splits = [q for q in vlm.asked if "Take the prompt apart" in q.text]
    assert len(splits) == 2  # and from then on it is known
    assert verifier.verify("a cup", PICTURES, watch)[0].passed
    assert [q for q in vlm.asked if "Take the prompt apart" in q.text] == splits


def test_a_checklist_that_the_model_cannot_make_is_one_question_for_good_and_said_once() -> None:
    vlm = ScriptedVlm(lambda _: BABBLE, lambda _: (0.9, 0.1))
    verifier, watch = ChecklistVerifier(vlm), Watcher()
    for _ in range(2):
        assert {len(v.aspects) for v in verifier.verify("a cup", PICTURES, watch)} == {1}
    assert len(watch.said) == 1 and BABBLE.reason in watch.said[0]


def test_a_rubric_that_a_loading_server_could_not_choose_is_chosen_later() -> None:
    up = False
    marks = {"reason": "", "mark": 8}
    names = ("completeness", "visibility", "occlusion", "overall")
    vlm = ScriptedVlm(
        lambda _: json.dumps(dict.fromkeys(names, marks)),
        lambda _: (1.0, *(0.0,) * 6) if up else LOADING,
    )
    verifier = RubricVerifier(vlm)
    assert [v.failure for v in verifier.verify("a cup", PICTURES)] == [LOADING.reason] * 2
    up = True
    assert set(verifier.verify("a cup", PICTURES)[0].aspects) == set(names[:3])


PLAN = json.dumps({"stages": [{"adds": ["a cup"], "instruction": "add it", "scene": "a cup"}]})
THOUGHT = json.dumps({"content": "blue", "layout": "", "style": ""})


@pytest.mark.parametrize("second", [False, True])
def test_a_plan_and_a_thought_that_a_server_could_not_give_are_not_recorded(second: bool) -> None:
    def vlm_of(text: str) -> ScriptedVlm:
        return ScriptedVlm(lambda _: text if second else LOADING, lambda _: LOADING)

    with pytest.raises(InputError, match=r"The plan could not be written\. The endpoint mine"):
        VlmPlanner(vlm_of(PLAN)).plan("a cup")
    with pytest.raises(InputError, match=r"could not be thought through\. The endpoint mine"):
        PromptExpander(vlm_of(THOUGHT)).expand("a cup")


def test_a_thought_that_a_model_cannot_give_is_said_and_changes_nothing() -> None:
    watch = Watcher()
    assert PromptExpander(ScriptedVlm(lambda _: BABBLE)).expand("a cup", watch) == "a cup"
    assert BABBLE.reason in watch.said[0]
    assert VlmPlanner(ScriptedVlm(lambda _: BABBLE)).plan("a cup").note.startswith(BABBLE.reason)


@pytest.mark.parametrize(
    ("reply", "temporary"),
    [
        (refuses(503, "busy"), True),
        (refuses(500), True),
        (too_many(), True),
        (refuses(401), True),
        (refuses(404), True),
        (Reply(reset=True), True),
        (Reply(b"<html>"), True),
        (Reply(b"[]"), True),
        (refuses(400, "bad"), False),
        (refuses(413), False),
        (refuses(422), False),
        (refuses(500, "image input is not supported - hint: mmproj"), False),
        (says(""), False),
    ],
)
def test_what_is_about_the_question_lasts_and_the_rest_may_pass(
    reply: Reply, temporary: bool
) -> None:
    with VlmServer([reply]) as server:
        (failure,) = endpoint_of(server, FAST).chat([Question("What is this?")])
    assert isinstance(failure, Failure)
    assert failure.temporary == temporary, failure.reason


def test_what_a_writer_could_not_do_stands_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)
    toys = Toys()
    writer: Any = VlmWriter(ScriptedVlm(lambda _: LOADING))

    def build(*_: Any) -> Any:
        return replace(toys.actors(), writer=writer)

    options = ["--width", "1", "--depth", "2", "--out", str(tmp_path / "run")]
    assert main(["run", "a cup", *options], build_actors=build) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "The writer" in line]
    said = f"The writer failed; the verdict's words are used: {LOADING.reason}"
    assert lines == [said] * 2
