"""Questions with answers for planners and inspectors: `pytest tests/train/test_data_staged.py`."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripted_vlm import ScriptedVlm
from train_judges import RUN

from reflectionflow_core.inspectors.vlm import VlmInspector
from reflectionflow_core.miniature.inspector import ExactInspector
from reflectionflow_core.miniature.planner import RulePlanner
from reflectionflow_core.planners.vlm import VlmPlanner
from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.writers.two_lists import TwoListsWriter
from reflectionflow_core.writers.vlm import MAX_WORDS
from train.data import teachers
from train.data.engine import HERE
from train.data.records import Item, Slice
from train.data.run import begin, make
from train.data.settings import DataSettings, PainterSettings, Staged
from train.data.shards import PARTS
from train.data.staged import PlanStage
from train.data.teachers import Rules, VlmTeacher, about
from train.data.work import sources_of
from train.shard_lists import shards_in
from train.triplets import Triplets, opened
from train.writer.chats import SeveralChats, chats_in
from train.writer.settings import WriterSettings
from train.writer.training import train

PROMPTS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("staged")
    (out / PARTS).mkdir()
    settings = DataSettings(
        out=out,
        image_format="png",
        painter=PainterSettings(steps=2),
        staged=Staged(prompts=PROMPTS),
    )
    sources = sources_of(settings)
    begin(settings, sources)
    make(sources, settings, lambda: nullcontext(HERE))
    return out


def told(folder: Path) -> list[tuple[dict[str, Any], bytes]]:
    """Every question as it is stored, with its picture."""
    found: dict[str, dict[str, bytes]] = {}
    for shard in folder.glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                stream = tar.extractfile(member)
                found.setdefault(key, {})[name] = stream.read() if stream else b""
    return [(json.loads(f["chat.json"]), f.get("picture.png", b"")) for f in found.values()]


def knowing(folder: Path) -> ScriptedVlm:
    """A model that has learnt all of it by heart, and knows nothing else."""
    answers = {(q["request"], q["system"], data): q["answer"] for q, data in told(folder)}
    pixels = {opened(data).tobytes(): data for _, _, data in answers if data}

    def answer(question: Question) -> str:
        (data,) = [pixels[image.tobytes()] for image in question.images] or (b"",)
        return answers[question.text, question.system, data]

    odds = {"yes": (1.0, 0.0), "no": (0.0, 1.0)}
    return ScriptedVlm(answer, lambda question: odds[answer(question)])


def test_a_search_asks_exactly_what_was_learnt(folder: Path) -> None:
    """Planner, inspector and writer by a model that knows the data do what the rules do."""
    vlm, rules = knowing(folder), Rules(MAX_WORDS)
    questions = told(folder)
    prompts = [q["prompt"] for q, _ in questions if q["kind"] == "plan"]
    assert len(prompts) == PROMPTS
    for prompt in prompts:
        plan = VlmPlanner(vlm, whole_first=False).plan(prompt)
        expected = RulePlanner(whole_first=False).plan(prompt)
        assert not plan.note
        for mine, exact in zip(plan.stages, expected.stages, strict=True):
            assert (mine.instruction, mine.scene) == (exact.instruction, exact.scene)
        seen = [q for q in questions if q[0]["kind"] == "inspect" and q[0]["prompt"] == prompt]
        pictures = [opened(data) for _, data in seen]
        given = (prompt, plan.stages, pictures)
        for mine, exact in zip(
            VlmInspector(vlm).inspect(*given), ExactInspector().inspect(*given), strict=True
        ):
            found = (mine.accepted, mine.wrong, mine.missing, mine.later, mine.refine)
            assert found == (exact.accepted, exact.wrong, exact.missing, exact.later, exact.refine)
        (verdict,) = rules.verifier.verify(prompt, pictures[-1:])
        (words,) = TwoListsWriter(vlm).reflect(prompt, [about(prompt, pictures[-1], verdict)])
        assert bool(words) != verdict.passed


def test_a_model_teaches_what_it_answers_and_nothing_else(folder: Path, monkeypatch) -> None:
    vlm = knowing(folder)
    monkeypatch.setattr(teachers, "build_vlm", lambda _: vlm)
    (prompt, *_) = [q["prompt"] for q, _ in told(folder) if q["kind"] == "plan"]
    teacher = VlmTeacher("folder", 60)
    taught, stages = teacher.plan(prompt)
    by_rules, expected = Rules(60).plan(prompt)
    assert stages == expected and teacher.calls > 0
    assert {(kind, q.text) for kind, q, _ in taught} <= {(kind, q.text) for kind, q, _ in by_rules}
    assert Counter(kind for kind, _, _ in taught)["plan"] == 1
    monkeypatch.setattr(teachers, "build_vlm", lambda _: ScriptedVlm())
    mute = VlmTeacher("folder", 60)
    done = PlanStage(mute)(Slice(0, 0, (Item(0, prompt),)))
    assert (done.items, done.chats, done.rejects) == ((), (), {"prompt not planned": 1})
    assert not mute.look(prompt, stages[-1:], [Image.new("RGB", (64, 64))])
    away = ScriptedVlm(lambda _: Failure("The server is away.", temporary=True))
    monkeypatch.setattr(teachers, "build_vlm", lambda _: away)
    with pytest.raises(InputError, match="does not answer: The server is away"):
        VlmTeacher("folder", 60).plan(prompt)
    failure = Failure("The server is away.", temporary=True)
    vlm.on_choose = lambda _: failure  # it fails only at questions with given answers
    monkeypatch.setattr(teachers, "build_vlm", lambda _: vlm)
    with pytest.raises(InputError, match="does not answer: The server is away"):
        VlmTeacher("folder", 60).plan(prompt)


def test_a_writer_learns_them_with_and_without_pictures(folder: Path, tmp_path: Path) -> None:
    assert not Triplets(shards_in(folder)).skipped  # they are no broken triplets
    chats = chats_in(str(folder))
    assert isinstance(chats, SeveralChats) and len(chats) == len(told(folder))
    read = [chats.read(i) for i in range(len(chats))]
    assert {bool(chat.image) for chat in read} == {True, False}
    assert chats.prompts.all()
    values = {**RUN, "out": tmp_path / "run", "data": str(folder), "held_out_share": 0.5}
    more = {"steps": 1, "batch": 4, "eval_every": 1, "save_every": 1, "max_answer": 128}
    train(WriterSettings.model_validate({**values, **more, "held_out_most": 4, "answers": 2}))
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert any("loss" in json.loads(line) for line in lines)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert card.startswith("# Planner, inspector and writer of two lists\n")
    assert "--strategy staged" in card and "reflection-generator" not in card
    assert any(f"| {kind}: " in card for kind in ("plan", "think", "keeps", "inspect", "reflect"))
    assert "| lora_rank |" not in card and "| made |" not in card  # they had no effect


def test_the_card_says_who_answered_and_triplets_go_elsewhere(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["subsets"] == {"chats": len(told(folder))} and manifest["triplets"] == 0
    assert "source of the answers: rules" in (folder / "README.md").read_text()
    assert not (folder / "writer.jsonl").exists()
    both = DataSettings.model_validate({"staged": {"prompts": 1}, "rule": {"prompts": 1}})
    with pytest.raises(InputError, match="need a separate run"):
        sources_of(both)
