"""A person in a search: what is said steers it, is recorded, and plays again to the byte."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import Cancelled, ToyClock, Toys, ToyVerifier, ToyWriter, facts, toy_actors
from PIL import Image

from reflectionflow_core.archive import Run, files, open_archive, read_recording
from reflectionflow_core.cli import main
from reflectionflow_core.cli.asking import with_line
from reflectionflow_core.feedback import Feedback, Place, excluded
from reflectionflow_core.protocols import SILENT
from reflectionflow_core.record import History, InputError, Region, Seed
from reflectionflow_core.search import STRATEGIES, Pause, is_over, search, search_with_pauses
from reflectionflow_core.settings import Budget, SearchSettings

PROMPT = "a red cube"


def half_white() -> bytes:
    mask, data = Image.new("L", (8, 8)), io.BytesIO()
    mask.paste(255, (0, 0, 4, 8))
    mask.save(data, "PNG")
    return data.getvalue()


DRAWN = half_white()
SETTINGS = SearchSettings(width=2, depth=2, drafts=3)


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only


@dataclass
class Scripted:
    """A person whose answers are known: changes to "go on as planned", one for each pause."""

    changes: list[dict[str, Any] | Exception] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)

    def answer(self, pause: Pause, progress=SILENT) -> Feedback:
        self.pauses.append(pause)
        change = self.changes[len(self.pauses) - 1] if len(self.pauses) <= len(self.changes) else {}
        if isinstance(change, Exception):
            raise change
        return replace(pause.unchanged, **change)


def steer(*changes, settings=SETTINGS, toys=None) -> tuple[History, Scripted]:
    person, actors = Scripted([*changes]), (toys or Toys()).actors()
    *_, history = search_with_pauses(PROMPT, settings, actors, person)
    return history, person


def numbers(history: History) -> dict[int, int]:
    return {id(candidate): number for number, candidate in enumerate(history)}


def parents(history: History, round_index: int) -> list[int | None]:
    known = numbers(history)
    return [known[id(c.parent)] if c.parent else None for c in history.rounds[round_index]]


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "staged"])
def test_going_on_as_planned_changes_no_picture_and_costs_nothing(strategy):
    settings = replace(SETTINGS, strategy=strategy)
    *_, plain = search(PROMPT, settings, toy_actors())
    steered, person = steer(settings=settings)
    assert facts(steered) == facts(plain)
    assert len(person.pauses) == len(plain.rounds)
    assert not person.pauses[-1].requests
    assert all(said.changes_nothing for said in steered.feedback)


def test_the_winner_is_continued_and_only_what_follows_it_can_be_the_best():
    worst = min(range(3), key=lambda i: steer()[0].rounds[0][i].rank)
    history, _ = steer({"picked": worst})
    assert parents(history, 1) == [worst, worst]
    assert {id(c) for c in history.eligible} == {id(c) for c in [*history][3:]} | {
        id([*history][worst])
    }
    assert history.best in history.eligible
    last, _ = steer({}, {}, {"picked": 4})
    assert last.best is [*last][4]


def test_a_vetoed_picture_is_neither_continued_nor_the_best_nor_a_reason_to_stop():
    passing = Toys(verifier=ToyVerifier(pass_at=0.0))
    settings = replace(SETTINGS, stop="passed", width=1, drafts=1)
    stopped, _ = steer(settings=settings, toys=passing)
    assert len(stopped) == 1
    history, person = steer({"vetoed": (0,)}, settings=settings, toys=passing)
    assert len(history) == 2 and parents(history, 1) == [None]  # nothing was left to correct
    assert history.best is [*history][1]
    assert not person.pauses[0].requests and is_over(history, settings, passing.actors())


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "staged"])
def test_vetoed_pictures_have_no_children_in_any_strategy(strategy):
    settings = replace(SETTINGS, strategy=strategy, depth=4)
    history, _ = steer({"vetoed": (0, 2)}, settings=settings)
    children = {number for i in range(1, len(history.rounds)) for number in parents(history, i)}
    assert not children & {0, 2}


def test_words_and_prompt_of_a_person_go_to_the_painter_and_no_actor_is_asked_for_them():
    toys = Toys()
    words, place = {0: "Make it blue."}, {0: Place(((0.1, 0.1, 0.5, 0.5),))}
    settings = replace(SETTINGS, depth=1, width=1, drafts=1)
    history, _ = steer(
        {"reflections": words, "places": place, "prompt": "a cube, blue"},
        settings=settings,
        toys=toys,
    )
    corrected = history.rounds[1][0]
    assert (corrected.reflection, corrected.prompt) == ("Make it blue.", "a cube, blue")
    assert corrected.region == Region(place[0].boxes, said=True)
    assert toys.writer.items == 1  # what it proposed
    assert not toys.evolver.log
    assert all(asked[0] == PROMPT for asked in toys.verifier.log)  # judged by what was wanted


class WritingOfParents(ToyWriter):
    """Names each picture by its noise; has nothing to say about those in `silent`."""

    def __init__(self, *silent: Seed) -> None:
        super().__init__()
        self.silent, self.asked = silent, 0

    def reflect(self, prompt, requests, progress=SILENT) -> list[str]:
        self.asked += len(requests)
        seeds = [request.required_parent.seed for request in requests]
        return ["" if seed in self.silent else f"Mend {seed}." for seed in seeds]


def test_a_planned_reflection_stays_with_its_picture_when_another_one_is_vetoed():
    _, person = steer()
    seeds = [candidate.seed for candidate in person.pauses[0].history]
    first, second = (
        numbers(person.pauses[0].history)[id(r.parent)] for r in person.pauses[0].requests
    )
    writer, settings = WritingOfParents(), replace(SETTINGS, depth=1)
    history, _ = steer({"vetoed": (first,)}, settings=settings, toys=Toys(writer=writer))
    third = ({0, 1, 2} - {first, second}).pop()
    assert parents(history, 1) == [second, third]
    assert [c.reflection for c in history.rounds[1]] == [
        f"Mend {seeds[i]}." for i in (second, third)
    ]
    assert writer.asked == 3  # once about each picture


def test_a_writer_that_had_nothing_to_say_is_not_asked_again():
    _, person = steer()
    writer = WritingOfParents(*(candidate.seed for candidate in person.pauses[0].history))
    history, _ = steer(settings=replace(SETTINGS, depth=1), toys=Toys(writer=writer))
    assert [c.reflection for c in history.rounds[1]] == ["", ""] and writer.asked == 2
    assert [c.action for c in history.rounds[1]] == ["correct", "correct"]


def test_proposals_are_kept_only_where_there_are_some():
    def proposals(**changes) -> set[bool]:
        settings, actors = replace(SETTINGS, **changes), toy_actors()
        steps = search_with_pauses(PROMPT, settings, actors, Scripted())
        return {history.proposed is not None for history in steps}

    assert True in proposals()
    assert True not in proposals(depth=0)


def test_a_picture_stays_as_it_is_outside_of_the_place_that_was_drawn():
    settings = replace(SETTINGS, depth=1, width=1, drafts=1)
    history, _ = steer({"places": {0: Place(mask=DRAWN)}}, settings=settings)
    draft, corrected = (np.asarray(c.image) for c in (history.rounds[0][0], history.rounds[1][0]))
    half = draft.shape[1] // 2
    assert (corrected[:, half:] == draft[:, half:]).all()
    assert (corrected[:, : half // 2] != draft[:, : half // 2]).any()


def test_a_prompt_stays_until_the_person_takes_it_back():
    settings = replace(SETTINGS, depth=3, axes=("noise", "reflection"))
    history, _ = steer({"prompt": "a cube, blue"}, {}, {"prompt": ""}, settings=settings)
    assert [{c.prompt for c in candidates} for candidates in history.rounds] == [
        *({PROMPT}, {"a cube, blue"}, {"a cube, blue"}, {PROMPT})
    ]


def test_what_would_have_no_effect_is_refused():
    with pytest.raises(InputError, match="Picture 1 is not corrected"):
        steer({"picked": 1, "reflections": {0: "Make it blue."}})
    with pytest.raises(InputError, match="not corrected"):
        steer({"reflections": {0: "x"}}, settings=replace(SETTINGS, strategy="noise"))
    with pytest.raises(InputError, match="Picture 1 is not corrected"):  # the budget is spent
        steer({"reflections": {0: "x"}}, settings=replace(SETTINGS, budget=Budget(images=3)))
    with pytest.raises(InputError, match="Picture 1 is not corrected"):  # the search has ended
        passing = Toys(verifier=ToyVerifier(pass_at=0.0))
        steer({"reflections": {0: "x"}}, settings=replace(SETTINGS, stop="passed"), toys=passing)
    with pytest.raises(ValueError, match="none has number 3"):
        Feedback(3, picked=3)
    with pytest.raises(ValueError, match="winner and be vetoed"):
        Feedback(3, picked=1, vetoed=(1,))


def test_a_budget_holds_with_a_person_who_has_texts_written_twice():
    settings = replace(SETTINGS, depth=5, budget=Budget(images=7, vlm_calls=14))
    history, _ = steer({"picked": 0}, {"picked": 3}, {"picked": 5}, settings=settings)
    assert history.cost.vlm_calls <= 14
    assert history.cost.images == len(history) <= 7


def written(folder, changes, depth=2):
    """A run that is steered in a folder, as the command line does it."""
    settings = replace(SETTINGS, depth=depth)
    person = Scripted([*changes])
    with open_archive(folder, resume=True) as archive:
        archive.begin(Run(PROMPT, settings, ask=True))
        steps = search_with_pauses(
            PROMPT, settings, toy_actors(), person, archive.history, clock=ToyClock()
        )
        for history in steps:
            archive.append(history)
    return person


def test_the_same_answers_give_the_same_bytes_and_a_pause_that_was_cut_comes_back(tmp_path):
    changes = [
        {"picked": 1, "reflections": {1: "Make it <b>blue</b>.\n"}},
        {"vetoed": (3,), "places": {4: Place(((0.0, 0.25, 1.0, 0.5),), DRAWN)}},
        {"picked": 5},
    ]
    written(tmp_path / "whole", changes)
    for at in range(3):
        cut = tmp_path / f"cut{at}"
        with pytest.raises(Cancelled):
            written(cut, [*changes[:at], Cancelled()])
        person = written(cut, changes[at:])
        assert len(person.pauses) == 3 - at
        for name in ("history.jsonl", "feedback.jsonl", "best.png"):
            assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    whole, cut = (read_recording(tmp_path / name).history for name in ("whole", "cut2"))
    assert facts(whole) == facts(cut) and whole.feedback == cut.feedback
    assert excluded(whole.feedback) == {0, 1, 2, 3, 4, 6}


def test_a_deeper_search_begins_with_what_was_said_in_the_shorter_one(tmp_path):
    written(tmp_path, [{"picked": 2}, {"picked": 3}], depth=1)
    person = written(tmp_path, [{}], depth=2)
    assert len(person.pauses) == 1
    assert parents(read_recording(tmp_path).history, 2) == [3, 3]


def test_dropped_pictures_take_what_was_said_of_them_along(tmp_path):
    written(tmp_path, [{}, {"picked": 4}, {}])
    with open_archive(tmp_path, resume=True) as archive:
        archive.drop_last(2)
        assert [said.after for said in archive.history.feedback] == [3, 5]
        assert archive.until(0).feedback == archive.history.feedback[:1]
    assert len((tmp_path / "feedback.jsonl").read_bytes().splitlines()) == 2
    with open_archive(tmp_path, resume=True) as archive:
        archive.drop_last(5)
    assert not len(read_recording(tmp_path).history)  # and no file of lost pictures is left


def test_a_damaged_answer_is_named_and_a_torn_one_is_asked_again(tmp_path):
    written(tmp_path, [{"picked": 1}])
    file = tmp_path / "feedback.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:-4])
    assert "cut off" in read_recording(tmp_path).notices[0]
    assert len(written(tmp_path, [{}]).pauses) == 1
    for damage in (b'{"after": 99}\n', b'{"after": 3, "picked": 7}\n', b"[]\n", b'{"x": 1}\n'):
        file.write_bytes(damage)
        with pytest.raises(InputError, match=r"Line 1 of .*feedback"):
            read_recording(tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5", "no picture 5. They are 1 to 3."),
        ("0", "no picture 0"),
        ("2:", "Type a number"),
        ("-2: make it blue", "Type a number"),
        ("-2 box 0 0 1 1", "Type a number"),
        ("2 box 0.1 0.2", "A box is four fractions"),
        ("2 box 0,1 0,2 0,5 0,6", "A box is four fractions"),
        ("2 mask 'no such.png'", "no such.png cannot be read"),
        ("2 mask ~no-such-user/a.png", "~no-such-user/a.png cannot be read"),
    ],
)
def test_a_line_that_is_half_an_answer_is_none(line, said):
    with pytest.raises(InputError) as refused:
        with_line(Feedback(3), line)
    assert said in str(refused.value)


@pytest.mark.skipif(sys.platform == "win32", reason="a backslash is part of a path there")
@pytest.mark.parametrize("shown", ["a mask.png", "'a mask.png'", r"a\ mask.png"])
def test_a_mask_may_be_named_as_terminals_drag_it(tmp_path, monkeypatch, shown):
    monkeypatch.chdir(tmp_path)
    Path("a mask.png").write_bytes(DRAWN)
    assert with_line(Feedback(3), f"2 mask {shown}").places[1].mask


def ask(monkeypatch, typed: str, *options: object) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    return main(["run", *map(str, options)], build_actors=lambda *_: toy_actors())


def test_the_terminal_asks_in_numbers_and_lines_and_resume_asks_again(
    tmp_path, monkeypatch, capsys
):
    mask = tmp_path / "mask.png"
    Image.new("L", (8, 8), 255).save(mask)
    out = tmp_path / "run"
    typed = f"2\nnonsense\n9\n-1\n2: make it blue\n2 box 0 0 0.5 0.5\n2 mask {mask}\n\nstop\n"
    options = ("--out", out, "--width", 1, "--depth", 2, "--drafts", 2)
    assert ask(monkeypatch, typed, PROMPT, *options, "--ask") == 0
    said = capsys.readouterr().err
    assert "Round 0 is over." in said and "next: Make it more like" in said
    assert said.count("This line is ignored.") == 2
    first = json.loads((out / "feedback.jsonl").read_text().splitlines()[0])
    assert (first["picked"], first["vetoed"]) == (1, [0])
    assert first["reflections"] == {"1": "make it blue"}
    assert first["places"]["1"]["mask"]
    assert len(read_recording(out).history) == 3
    assert ask(monkeypatch, "", "--out", out, "--resume") == 0  # nobody answers
    assert len(read_recording(out).history) == 4
    assert "goes on as planned" in capsys.readouterr().err
    assert ask(monkeypatch, "", "--out", out, "--resume", "--no-ask", "--depth", 3) == 0
    assert len(read_recording(out).history.feedback) == 3


def test_what_was_typed_before_stop_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "run"
    options = ("--out", out, "--width", 1, "--depth", 2, "--drafts", 3, "--ask")
    assert ask(monkeypatch, "3\nstop\n", PROMPT, *options) == 0
    (said,) = read_recording(out).history.feedback
    assert said.picked == 2
    third = Image.open(out / "images" / "round-000-002.png")
    assert Image.open(out / "best.png").tobytes() == third.tobytes()
    assert ask(monkeypatch, "", "--out", out, "--resume", "--no-ask") == 0
    assert read_recording(out).history.rounds[1][0].parent is not None


def test_the_end_of_input_ends_an_answer(tmp_path, monkeypatch):
    options = (PROMPT, "--out", tmp_path, "--width", 1, "--depth", 1, "--ask")
    assert ask(monkeypatch, "1: make it blue", *options) == 0
    first = json.loads((tmp_path / "feedback.jsonl").read_text().splitlines()[0])
    assert first["reflections"] == {"0": "make it blue"}
