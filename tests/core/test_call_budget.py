"""A budget of calls holds whoever asks and however often: what the server saw is what counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from fakes import Toys
from scripted_vlm import ScriptedVlm
from vlm_server import Asked, Reply, Script, VlmServer, refuses, says, too_many

from reflectionflow_core.allowance import NoCallsLeftError, calls_allowed, take_calls
from reflectionflow_core.archive import open_archive, read_recording
from reflectionflow_core.archive.run_file import Run
from reflectionflow_core.evolvers.think_first import PromptExpander
from reflectionflow_core.evolvers.vlm import VlmEvolver
from reflectionflow_core.feedback import Feedback
from reflectionflow_core.inspectors.vlm import VlmInspector
from reflectionflow_core.judge_errors import OTHER, JudgeErrors, KindErrors
from reflectionflow_core.protocols import SILENT, Actors, Progress
from reflectionflow_core.record import History, InputError, Stage, Verdict
from reflectionflow_core.search import (
    Pause,
    UnjudgedError,
    ask_person,
    search,
    search_with_pauses,
)
from reflectionflow_core.settings import Budget, SearchSettings
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Vlm
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits
from reflectionflow_core.writers.vlm import VlmWriter

PROMPT = "two green bowls"
HASTY = RequestLimits(seconds=0.5, tries=3, pause=0.001, longest_pause=0.001)
STAGES = tuple(Stage(f"add bowl {i}", f"{PROMPT}, {i} of 2", ("a bowl",)) for i in (1, 2))
ERRORS = JudgeErrors("toy", (KindErrors(OTHER, 20, 4, 20, 4),), correlation=0.2)
SEARCHES = {
    "reflection": SearchSettings(width=2, depth=2, batch_size=2),
    "adaptive": SearchSettings(width=2, depth=3, strategy="adaptive", recheck=True),
    "staged": SearchSettings(width=2, depth=3, strategy="staged", stages=STAGES),
    "potential": SearchSettings(width=2, depth=3, strategy="potential", batch_size=2),
    "scouts": SearchSettings(width=3, depth=3, strategy="scouts"),
    "looks": SearchSettings(width=2, depth=2, looks=2),
}


def unreliable(draws: Random) -> Script:
    """A server that after four answers is busy, down, slow or talks nonsense every second time."""

    def reply(asked: Asked) -> Reply:
        turn = draws.random() if asked.number > 3 else 1.0
        if turn < 0.12:
            return too_many()
        if turn < 0.2:
            return refuses(503, "overloaded")
        if asked.number == 9:
            return replace(says("yes"), wait=2 * HASTY.seconds)
        if turn < 0.26:
            return Reply(reset=True)
        return says("no JSON" if turn < 0.5 else answer(draws))

    return reply


def answer(draws: Random) -> str:
    asked = [{"statement": f"bowl {i}", "question": f"Bowl {i}?"} for i in range(7)]
    texts = {"requirements": asked, "edits": ["add it"], "prompt": "lit", "faults": []}
    return draws.choice(["yes", "no", json.dumps(texts)])


def staffed(vlm: Vlm, errors: JudgeErrors | None = None) -> Actors:
    asking = {"writer": VlmWriter(vlm), "evolver": VlmEvolver(vlm), "inspector": VlmInspector(vlm)}
    verifier = ChecklistVerifier(vlm, ground=True)
    return replace(Toys().actors(), verifier=verifier, errors=errors, **asking)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_server_never_sees_more_calls_than_the_budget(name: str) -> None:
    draws = Random(name)
    limit = draws.randint(24, 48)
    settings = replace(SEARCHES[name], budget=Budget(vlm_calls=limit))
    with VlmServer(unreliable(draws)) as server:
        vlm = Endpoint(Profile("mine", server.url, "", "toy", samples=3), HASTY)
        history = searched(settings, staffed(vlm, ERRORS if name == "looks" else None))
    # A request that was given up before it arrived is charged, too.
    assert 10 < len(server.asked) <= history.cost.vlm_calls <= limit
    assert len(history)


def searched(settings: SearchSettings, actors: Actors, history: History | None = None) -> History:
    history = history or History()
    try:
        for step in search(PROMPT, settings, actors, history):
            history = step
    except UnjudgedError as error:
        return error.history
    return history


def test_what_the_budget_does_not_pay_for_is_unjudged_and_says_so() -> None:
    vlm = ScriptedVlm(lambda _: "no JSON", lambda _: (0.9, 0.1))
    *_, history = search(PROMPT, SearchSettings(width=1, depth=0), staffed(vlm))
    assert history.cost.vlm_calls == len(vlm.asked) == 3  # a list asked for twice, one question
    asks_a_lot = ScriptedVlm(lambda _: answer_of(9), lambda _: (0.9, 0.1))
    one = SearchSettings(width=1, depth=0, budget=Budget(vlm_calls=6))
    *_, history = search(PROMPT, one, staffed(asks_a_lot))
    assert history.cost.vlm_calls == len(asks_a_lot.asked) == 6
    assert history.best.verdict.passed is None
    assert "The budget of 6 VLM calls is used up." in history.best.verdict.explanation
    fails = Endpoint(Profile("mine", "http://127.0.0.1:9/v1", "", "toy"), HASTY)
    with calls_allowed(0, 6):
        (verdict,) = ChecklistVerifier(fails).verify(PROMPT, [history.best.image])
    assert verdict == Verdict.unjudged("The budget of 6 VLM calls is used up.")


def answer_of(count: int) -> str:
    asked = [{"statement": f"bowl {i}", "question": f"Bowl {i}?"} for i in range(count)]
    return json.dumps({"requirements": asked, "edits": ["add it"], "prompt": "lit"})


def test_a_writer_that_asks_again_leaves_the_judge_its_calls() -> None:
    def chat(question: object) -> str:
        return answer_of(3) if "taken apart" in str(question) or not history else "no JSON"

    history: list[History] = []
    vlm = ScriptedVlm(chat, lambda _: (0.2, 0.8))
    settings = SearchSettings(width=1, depth=3, budget=Budget(vlm_calls=14))
    for step in search(PROMPT, settings, staffed(vlm)):
        history.append(step)
    assert history[-1].cost.vlm_calls == len(vlm.asked) <= 14
    assert len(history[-1]) > 1
    assert all(candidate.verdict.judged for candidate in history[-1])


def test_proposals_at_a_pause_are_paid_from_the_same_budget() -> None:
    class Unmoved:
        def answer(self, pause: Pause, progress: Progress = SILENT) -> Feedback:
            del progress
            return pause.unchanged

    vlm = ScriptedVlm(lambda _: "no JSON", lambda _: (0.2, 0.8))
    settings = SearchSettings(width=1, depth=1, axes=("noise", "reflection"))
    actors = staffed(vlm)
    *_, history = search(PROMPT, settings, actors, one_round=True)
    spent = len(vlm.asked)
    limited = replace(settings, budget=Budget(vlm_calls=spent + 1 + 2))
    *_, said = ask_person(PROMPT, limited, actors, Unmoved(), history)
    assert len(vlm.asked) == said.cost.vlm_calls == spent + 1  # the verdict takes two


def test_proposals_stay_paid_in_the_folder_where_the_person_stops_at_the_pause(
    tmp_path: Path,
) -> None:
    class Leaving:
        def answer(self, pause: Pause, progress: Progress = SILENT) -> Feedback:
            raise KeyboardInterrupt

    vlm = ScriptedVlm(lambda _: "no JSON", lambda _: (0.2, 0.8))
    settings = SearchSettings(width=1, depth=1, axes=("noise", "reflection"))
    for begun in range(3):
        with open_archive(tmp_path, resume=bool(begun)) as archive:
            archive.begin(Run(PROMPT, settings, {}, {}, {}))
            with pytest.raises(KeyboardInterrupt):
                for history in search_with_pauses(
                    PROMPT, settings, staffed(vlm), Leaving(), archive.history
                ):
                    archive.append(history)
        assert read_recording(tmp_path).history.cost.vlm_calls == len(vlm.asked)


def test_a_prompt_that_is_thought_through_is_paid_from_the_same_budget() -> None:
    vlm = ScriptedVlm(lambda _: "no JSON")
    with calls_allowed(1, 1), pytest.raises(InputError, match="of 1 VLM call is used up"):
        PromptExpander(vlm).expand(PROMPT)
    assert len(vlm.asked) == 1


def test_work_that_a_crash_repeats_is_planned_for() -> None:
    vlm = ScriptedVlm(lambda _: answer_of(3), lambda _: (0.2, 0.8))
    settings = SearchSettings(width=4, depth=0, batch_size=4)
    steps = list(search(PROMPT, settings, staffed(vlm)))
    half, again = steps[1], ScriptedVlm(lambda _: answer_of(3), lambda _: (0.2, 0.8))
    spent = half.cost.vlm_calls
    for limit in range(spent + 1, spent + 24):
        end = searched(replace(settings, budget=Budget(vlm_calls=limit)), staffed(again), half)
        assert end.cost.vlm_calls == spent + len(again.asked) <= limit
        assert all(candidate.verdict.judged for candidate in end)
        again.asked.clear()


def test_a_call_that_was_not_taken_is_not_made() -> None:
    take_calls(5)  # outside of a search there is no limit
    with calls_allowed(3, 8) as allowance:
        take_calls(2)
        with pytest.raises(NoCallsLeftError, match="The budget of 8 VLM calls is used up"):
            take_calls(2)
        take_calls()
        assert allowance.taken == 3
