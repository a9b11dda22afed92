"""Searches with actors on a vision-language model: what they cost, and that they climb."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest
from fakes import Toys, ToyVerifier, examples
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from scripted_vlm import ScriptedVlm

from reflectionflow_core import registry
from reflectionflow_core.archive import open_archive
from reflectionflow_core.cli import main
from reflectionflow_core.evolvers.vlm import VlmEvolver
from reflectionflow_core.identity import identity
from reflectionflow_core.miniature.detector import detect
from reflectionflow_core.miniature.judge import Fault, faults, items_of
from reflectionflow_core.miniature.prompts import parse
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.protocols import Actors
from reflectionflow_core.record import Cost, History, InputError
from reflectionflow_core.registry import ActorChoice, build_actors, build_verifier
from reflectionflow_core.search import UnjudgedError, run_round, search
from reflectionflow_core.settings import Budget, SearchSettings
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.verifiers.ensemble import EnsembleVerifier
from reflectionflow_core.verifiers.noisy import NoisyVerifier
from reflectionflow_core.verifiers.rubric import KINDS as KINDS_OF_PROMPT
from reflectionflow_core.verifiers.rubric import RubricVerifier
from reflectionflow_core.verifiers.yes_no import YesNoVerifier
from reflectionflow_core.vlm import named
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.writers.template import edit_for
from reflectionflow_core.writers.vlm import VlmWriter

PROMPT = "two green bowls"
DOWN = Failure("The server does not answer.")


def answer(question: Question) -> str:
    """Fits whatever is asked: a checklist of three, edits, a prompt, and a rubric's marks."""
    requirements = [{"statement": f"bowl {i}", "question": f"Bowl {i}?"} for i in range(3)]
    texts = {"requirements": requirements, "edits": ["add it"], "prompt": f"{PROMPT}, lit"}
    aspects = {name for kind in KINDS_OF_PROMPT.values() for name in kind} | {"overall"}
    return json.dumps({**texts, **{name: {"reason": "", "mark": 5} for name in aspects}})


def odds(question: Question) -> tuple[float, float]:
    value = question.images[0].getpixel((0, 0)) if question.images else (200,)
    assert isinstance(value, tuple)
    return value[0] / 255, 1 - value[0] / 255


def staffed(vlm: ScriptedVlm, verifier: Callable = ChecklistVerifier) -> Actors:
    return replace(
        Toys().actors(), verifier=verifier(vlm), writer=VlmWriter(vlm), evolver=VlmEvolver(vlm)
    )


def last(actors: Actors, settings: SearchSettings, history: History | None = None) -> History:
    *_, end = search(PROMPT, settings, actors, History() if history is None else history)
    return end


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_cost_of_a_search_is_what_was_asked(batch_size: int) -> None:
    vlm = ScriptedVlm(answer, lambda q: (0.2, 0.8) if q.images else (0.9, 0.1))
    history = last(staffed(vlm), SearchSettings(width=3, depth=2, batch_size=batch_size))
    # One list, three questions a picture; an edit, a prompt and its second look a correction.
    assert history.cost.vlm_calls == len(vlm.asked) == 1 + 9 * 3 + 6 * 3


def test_repairs_are_charged_and_unasked_questions_are_not() -> None:
    vlm = ScriptedVlm(lambda _: "no JSON", odds)
    history = last(staffed(vlm, YesNoVerifier), SearchSettings(width=2, depth=2))
    assert history.cost.vlm_calls == len(vlm.asked) > 6 + 4 * 2
    passing = ScriptedVlm(answer, lambda _: (0.9, 0.1))
    history = last(staffed(passing, YesNoVerifier), SearchSettings(width=2, depth=2))
    assert history.cost.vlm_calls == len(passing.asked) == 6 + 4 * 2  # nobody writes of right ones


def test_a_wrapped_verifier_is_charged_by_what_is_inside() -> None:
    vlm = ScriptedVlm(answer, odds)
    actors = staffed(vlm, lambda v: NoisyVerifier(ChecklistVerifier(v), 0.5))
    history = last(actors, SearchSettings(width=2, depth=1))
    assert history.cost.vlm_calls == len(vlm.asked)
    toys = replace(Toys().actors(), verifier=NoisyVerifier(ToyVerifier(calls=3), 0.5))
    assert last(toys, SearchSettings(width=2, depth=0)).cost.vlm_calls == 6


@effort(max_examples=examples(60), deadline=None)
@given(
    limit=st.integers(5, 60),
    width=st.integers(1, 4),
    batch_size=st.integers(1, 4),
    garbled=st.integers(0, 3),
    verifier=st.sampled_from([ChecklistVerifier, YesNoVerifier, RubricVerifier]),
)
def test_a_budget_of_calls_is_never_exceeded_whatever_is_asked_again(
    limit: int, width: int, batch_size: int, garbled: int, verifier: Callable
) -> None:
    def chat(question: Question) -> str:
        turns.append(question)
        return "no JSON" if len(turns) % 4 < garbled else answer(question)

    turns: list[Question] = []
    vlm = ScriptedVlm(chat, odds)
    settings = SearchSettings(
        width=width, depth=3, batch_size=batch_size, budget=Budget(vlm_calls=limit)
    )
    actors, spent = staffed(vlm, verifier), [0]
    try:
        for history in search(PROMPT, settings, actors):
            spent.append(history.cost.vlm_calls)
    except UnjudgedError as ended:  # so many garbled answers that nothing was judged
        assert garbled
        spent.append(ended.history.cost.vlm_calls)
    assert spent[-1] == len(vlm.asked)
    assert spent[-1] <= limit


def test_work_that_is_done_again_after_a_crash_is_charged_where_it_is_counted() -> None:
    settings = SearchSettings(width=2, depth=1, batch_size=2)
    whole = list(search(PROMPT, settings, staffed(ScriptedVlm(answer, odds))))
    again = ScriptedVlm(answer, odds)
    half = whole[2]  # one of the two corrections
    end = run_round(PROMPT, settings, staffed(again), half)
    assert len(end) == 4
    assert end.cost.vlm_calls == half.cost.vlm_calls + len(again.asked)
    toys = list(search(PROMPT, settings, Toys().actors()))
    resumed = run_round(PROMPT, settings, Toys().actors(), toys[2])
    assert resumed.cost.vlm_calls == toys[-1].cost.vlm_calls


def test_a_checklist_longer_than_expected_ends_a_search_instead_of_refusing_it() -> None:
    many = [{"statement": f"bowl {i}", "question": f"Bowl {i}?"} for i in range(9)]
    vlm = ScriptedVlm(lambda _: json.dumps({"requirements": many}), odds)
    settings = SearchSettings(width=1, depth=5, strategy="noise", budget=Budget(vlm_calls=8))
    actors = staffed(vlm)
    history = last(actors, settings)
    assert len(history) == 1
    assert run_round(PROMPT, settings, actors, history) is history


def test_only_pictures_without_a_parent_are_painted_from_the_draft_prompt() -> None:
    toys = Toys()
    settings = SearchSettings(width=2, depth=1, axes=("reflection",), draft_prompt="two bowls, lit")
    history = last(toys.actors(), settings)
    assert [c.prompt for c in history.rounds[0]] == ["two bowls, lit"] * 2
    assert [c.prompt for c in history.rounds[1]] == [PROMPT] * 2
    assert {asked[0] for asked in toys.verifier.log} == {PROMPT}
    with pytest.raises(InputError, match="draft prompt is empty"):
        SearchSettings(draft_prompt=" ")


# The registry and the command line


@pytest.fixture
def vlm(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedVlm]:
    """What "endpoint:toy" leads to, wherever endpoints come from."""
    import_module(
        "reflectionflow_core.cli.batch"
    )  # with the real modules, before they are replaced
    scripted = ScriptedVlm(answer, odds)
    endpoint, profiles = ModuleType("endpoint"), ModuleType("profiles")
    vars(profiles)["find_profile"] = lambda name, _: Profile(name, "http://localhost/v1", "", "m1")
    vars(profiles)["command_line_folder"] = Path
    vars(endpoint)["Endpoint"] = lambda profile, **_: {"toy": scripted}[profile.name]
    monkeypatch.setenv("REFLECTIONFLOW_JUDGE_CHECK", "off")  # its answers are about bowls
    monkeypatch.setitem(sys.modules, "reflectionflow_core.vlm.endpoint", endpoint)
    monkeypatch.setitem(sys.modules, "reflectionflow_core.vlm.profiles", profiles)
    named._built_vlm.cache_clear()
    yield scripted
    named._built_vlm.cache_clear()


def test_all_actors_of_a_choice_share_one_model(vlm: ScriptedVlm) -> None:
    choice = ActorChoice(
        verifier="checklist", writer="vlm", evolver="vlm", vlm="endpoint:toy", max_words=7
    )
    actors = build_actors(choice, SearchSettings())
    assert isinstance(actors.verifier, ChecklistVerifier)
    assert isinstance(actors.writer, VlmWriter)
    assert isinstance(actors.evolver, VlmEvolver)
    assert actors.verifier.vlm is actors.writer.vlm is actors.evolver.vlm is vlm
    assert actors.writer.max_words == 7


def test_a_folder_is_loaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    loaded = []
    local = ModuleType("local")
    vars(local)["load_vlm"] = lambda folder, **given: loaded.append((folder, given)) or loaded
    monkeypatch.setitem(sys.modules, "reflectionflow_core.vlm.local", local)
    named._built_vlm.cache_clear()
    assert named.build_vlm(str(tmp_path), "cpu") is named.build_vlm(str(tmp_path), "cpu")
    assert loaded == [(str(tmp_path), {"device": "cpu", "dtype": "bf16"})]
    named._built_vlm.cache_clear()


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ActorChoice(verifier="checklist"), "'checklist' asks .* Give one with --vlm endpoint"),
        (ActorChoice(verifier="rubric"), "'rubric' asks"),
        (ActorChoice(verifier="yes-no"), "'yes-no' asks"),
        (ActorChoice(writer="vlm"), "writer 'vlm' asks"),
        (ActorChoice(writer="reflection-generator"), "'reflection-generator' asks"),
        (ActorChoice(evolver="vlm"), "evolver 'vlm' asks"),
        (ActorChoice(verifier="exact+tournament"), "'tournament' asks"),
        (ActorChoice(gate="checklist"), "'checklist' asks"),
        (ActorChoice(gate="exact+noisy"), "several verifiers. Give one"),
        (ActorChoice(gate="gone"), "no verifier named 'gone'"),
        (ActorChoice(verifier="clip-score"), "needs a CLIP. Give its .* clip-score:FOLDER"),
        (ActorChoice(verifier="clip-score:/gone/too/far"), "no folder /gone/too/far"),
        (ActorChoice(verifier="reward"), "needs the Image-Verifier"),
        (ActorChoice(verifier="reward:/r"), "needs the model that it was trained from"),
        (ActorChoice(verifier="yes-no", vlm="endpoint:"), "has no name"),
        (ActorChoice(verifier="yes-no", vlm="/gone/too/far"), "no folder /gone/too/far"),
    ],
)
def test_an_actor_without_its_model_is_told_how_to_get_one(choice: ActorChoice, told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_actors(choice, SearchSettings())


KINDS = {
    "verify": registry.VERIFIERS,
    "reflect": registry.WRITERS,
    "evolve": registry.EVOLVERS,
    "expand": registry.THINKERS,
    "plan": registry.PLANNERS,
    "inspect": registry.INSPECTORS,
}


@pytest.mark.parametrize(
    ("verb", "name"), [(v, name) for v, rows in KINDS.items() for name in rows]
)
def test_every_row_builds_an_actor_of_its_kind(verb: str, name: str) -> None:
    row = KINDS[verb][name]
    if row.source or name == "objects":
        return  # those have weights of their own, and tests of their own
    actor: Any = row.build(ActorChoice(max_words=33), ScriptedVlm() if row.asks_vlm else None)
    assert callable(getattr(actor, verb))
    assert getattr(actor, "max_words", 33) == 33


def test_verifiers_are_joined_by_name_and_one_of_them_may_be_the_gate(vlm: ScriptedVlm) -> None:
    choice = ActorChoice(verifier="2*exact+checklist", gate="exact", vlm="endpoint:toy")
    joined = build_verifier(choice)
    assert isinstance(joined, EnsembleVerifier)
    assert [(m.name, m.weight, m.spread) for m in joined.members] == [
        ("exact", 2, 0.25),
        ("checklist", 1, 0.25),
    ]
    assert joined.gate is joined.members[0].verifier
    alone = build_verifier(ActorChoice(verifier="noisy", verifier_error=0.5, gate="exact"))
    assert isinstance(alone, EnsembleVerifier)
    assert isinstance(alone.gate, ExactVerifier)
    assert isinstance(build_verifier(ActorChoice()), ExactVerifier)


def test_a_model_is_part_of_the_identity_where_there_is_one(vlm: ScriptedVlm, tmp_path) -> None:
    assert "vlm" not in identity(ActorChoice())
    assert identity(ActorChoice(vlm="endpoint:toy"))["vlm"] == "endpoint:toy (m1)"
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = identity(ActorChoice(vlm=str(tmp_path)))["vlm"]
    judged = ActorChoice(verifier=f"exact+clip-score:{tmp_path}", gate=f"clip-score:{tmp_path}")
    spec = identity(judged)["verifier"]
    assert spec == f"1*exact+1*clip-score:{before}"
    assert identity(judged)["gate"] == f"1*clip-score:{before}"
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert identity(ActorChoice(vlm=str(tmp_path)))["vlm"] != before
    assert identity(judged)["verifier"] != spec


def command(out, *options: str) -> int:
    return main(
        ["run", PROMPT, "--out", str(out), "--strategy", "reflection", "--depth", "1", *options],
        build_actors=lambda choice, _: replace(
            Toys().actors(),
            verifier=build_verifier(replace(choice, vlm="endpoint:toy")),
        ),
    )


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile of endpoint:toy, which is looked for before a model is built."""
    monkeypatch.setenv("REFLECTIONFLOW_TOY_API_KEY", "key")
    monkeypatch.setenv("REFLECTIONFLOW_TOY_BASE_URL", "http://localhost:1/v1")


@pytest.mark.usefixtures("profile")
def test_a_run_thinks_first_once_and_pays_for_it(vlm: ScriptedVlm, tmp_path, capsys) -> None:
    parts = {"content": "Two bowls.", "layout": "side by side", "style": ""}
    vlm.on_chat = lambda _: json.dumps(parts)
    options = ("--verifier", "yes-no", "--vlm", "endpoint:toy")
    assert command(tmp_path, *options, "--think-first") == 0
    with open_archive(tmp_path, resume=True) as archive:
        assert archive.run is not None
        expanded = archive.run.settings.draft_prompt
        assert expanded == f"{PROMPT}. Two bowls. side by side."
        assert [c.prompt for c in archive.history.rounds[0]] == [expanded] * 2
        toys_texts = 2 + 2  # the toys' own calls are not the model's
        assert archive.history.cost.vlm_calls == len(vlm.asked) + toys_texts
        assert archive.run.actors["vlm"] == "endpoint:toy"
    asked = len(vlm.asked)
    assert command(tmp_path, *options, "--think-first", "--resume") == 0
    assert len(vlm.asked) == asked


@pytest.mark.usefixtures("profile")
def test_thinking_first_needs_a_model_and_an_empty_folder(vlm, tmp_path, capsys) -> None:
    assert command(tmp_path / "a", "--think-first", "--verifier", "exact") == 2
    assert command(tmp_path / "b", "--verifier", "yes-no", "--vlm", "endpoint:toy") == 0
    options = ("--verifier", "yes-no", "--vlm", "endpoint:toy", "--think-first", "--resume")
    assert command(tmp_path / "b", *options) == 2
    assert "Leave out --think-first" in capsys.readouterr().err


def test_a_run_recorded_before_there_were_such_models_goes_on(tmp_path) -> None:
    def toys(*_: object) -> Actors:
        return Toys().actors()

    assert main(["run", PROMPT, "--out", str(tmp_path), "--max-images", "2"], toys) == 0
    file = tmp_path / "run.json"
    record = json.loads(file.read_bytes())
    del record["settings"]["draft_prompt"], record["actors"]["vlm"], record["actors"]["max_words"]
    file.write_text(json.dumps(record))
    assert main(["run", "--out", str(tmp_path), "--resume", "--max-images", "4"], toys) == 0
    with open_archive(tmp_path, resume=True) as archive:
        assert len(archive.history) == 4


# The miniature, judged by a model that errs and fails


class ErringEye:
    """Sees what the exact verifier sees, wrong with `error` and silent with `failing`.

    Which answers these are depends on picture and question alone. It knows no relations.
    """

    def __init__(self, prompt: str, error: float, failing: float) -> None:
        self.prompt, self.spec = prompt, parse(prompt)
        self.error, self.failing = error, failing
        self.things = list(dict.fromkeys(map(str, items_of(self.spec))))
        self.statements = [*self.things, "only these"]

    def dice(self, question: Question, what: str) -> float:
        seen = b"".join(image.tobytes() for image in question.images)
        digest = hashlib.sha256(seen + question.text.encode() + what.encode()).digest()
        return digest[0] / 256

    def chat(self, question: Question) -> str | Failure:
        if not question.images:
            asked = [{"statement": s, "question": f"Q{i}?"} for i, s in enumerate(self.statements)]
            return json.dumps({"requirements": asked})
        if self.dice(question, "fails") < self.failing:
            return DOWN
        edits = [edit_for(fault.unmet) for fault in self.faults(question)]
        wrong = self.dice(question, "errs") < self.error
        return json.dumps({"edits": ["remove the red circle"] if wrong else edits})

    def choose(self, question: Question) -> tuple[float, float] | Failure:
        if self.dice(question, "fails") < self.failing:
            return DOWN
        asked = next(
            statement
            for i, statement in enumerate(self.statements)
            if f"Q{i}?" in question.text or f"{statement}?" in question.text  # denials: as stated
        )
        held = not any(self.touches(f, asked) for f in self.faults(question))
        if self.dice(question, "errs") < self.error:
            held = not held
        return (0.9, 0.1) if held else (0.1, 0.9)

    def faults(self, question: Question) -> tuple[Fault, ...]:
        return faults(detect(question.images[0]), self.spec)

    @staticmethod
    def touches(fault: Fault, statement: str) -> bool:
        if fault.wanted is None:
            return statement == "only these"
        return statement == str(fault.wanted)


HARD = (  # what the miniature's first pictures get wrong most
    "a photo of a green triangle and a purple circle",
    "a photo of a blue triangle and a yellow circle",
    "a photo of a red square and a green circle",
    "a photo of a purple square and a yellow triangle",
    "a photo of a red triangle and a blue square",
    "a photo of a green circle and a yellow square",
    "a photo of four green circles",
    "a photo of a circle and a triangle",
)
CHAINS = SearchSettings(
    width=2, depth=3, seed=3, axes=("noise", "reflection"), parents="best", batch_size=2
)


def judged_by(vlm: ScriptedVlm) -> Actors:
    """The miniature's painters; its T5 reads 40 tokens, so reflections are short."""
    painters = build_actors(ActorChoice(), CHAINS)
    return replace(painters, verifier=ChecklistVerifier(vlm), writer=VlmWriter(vlm, max_words=8))


def test_a_search_climbs_with_a_model_that_errs_and_fails() -> None:
    """One answer in ten is wrong and three in ten are missing."""
    drafts, everything, best = [], [], []
    for prompt in HARD:
        eye = ErringEye(prompt, error=0.1, failing=0.3)
        vlm = ScriptedVlm(eye.chat, eye.choose)
        *_, history = search(prompt, CHAINS, judged_by(vlm))
        assert len(history) == CHAINS.scheduled_pictures
        assert history.cost.vlm_calls == len(vlm.asked)
        images = [candidate.image for candidate in (*history, history.best)]
        *truth, chosen = (v.score for v in ExactVerifier().verify(prompt, images))
        drafts += truth[: CHAINS.width]
        everything += truth
        best.append(chosen)
    assert fmean(best) > fmean(everything)
    assert fmean(best) > fmean(drafts) + 0.1


def test_a_search_ends_with_a_model_that_never_answers() -> None:
    with pytest.raises(UnjudgedError, match=f"could be judged: {DOWN.reason}") as error:
        list(search(HARD[0], CHAINS, judged_by(ScriptedVlm())))
    assert len(error.value.history) == CHAINS.batch_size


def test_a_history_may_begin_with_a_cost() -> None:
    begun = History(cost=Cost(vlm_calls=3))
    assert last(Toys().actors(), SearchSettings(width=1, depth=0), begun).cost.vlm_calls == 4
