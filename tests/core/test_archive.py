"""A History on disk: what is written is read back, and what is damaged is named."""

import errno
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fakes import Toys, examples, toy_actors
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from PIL import Image

from reflectionflow_core import archive as archives
from reflectionflow_core.archive import (
    Run,
    differences,
    files,
    open_archive,
    read_recording,
)
from reflectionflow_core.archive.lines import Entry, seed_to_json
from reflectionflow_core.archive.metadata import parameters
from reflectionflow_core.evidence import Evidence
from reflectionflow_core.record import (
    Candidate,
    Cost,
    History,
    InputError,
    Inspection,
    Neighbour,
    Verdict,
)
from reflectionflow_core.search import search
from reflectionflow_core.settings import Budget, SearchSettings

PROMPT = "a red cube"
SETTINGS = SearchSettings(width=2, depth=2, drafts=3, noise_search="zero_order", radius=0.25)
RUN = Run(PROMPT, SETTINGS, {"model": "toy"}, {"model": "1234"}, {"python": "3"})


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only


def record(folder: Path, settings: SearchSettings = SETTINGS) -> History:
    history = History()
    with open_archive(folder, resume=True) as archive:
        archive.begin(RUN)
        for history in search(PROMPT, settings, toy_actors(), archive.history):
            archive.append(history)
    return history


def facts(history: History) -> list[tuple]:
    index = {id(candidate): i for i, candidate in enumerate(history)}
    return [
        (c.image.tobytes(), c.prompt, c.seed, c.verdict, c.reflection, index.get(id(c.parent)))
        for c in history
    ]


def test_a_history_comes_back_as_it_was_written(tmp_path):
    written = record(tmp_path)
    read = read_recording(tmp_path)
    assert read.run == RUN
    assert facts(read.history) == facts(written)
    assert [len(r) for r in read.history.rounds] == [3, 2, 2]
    assert read.history.cost == written.cost


def test_the_page_of_the_command_line_names_every_field_of_a_line():
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    verdict = Verdict(0.5, evidence=(Evidence("a cup"),))
    more = {"stage": 0, "inspection": Inspection(True), "broken": ("a cup",), "latents": "1234"}
    entry = Entry(0, 0, 0, "1234", PROMPT, "", 1, None, verdict, Cost(), **more)
    assert [name for name in entry.record() if f"`{name}`" not in page] == []


def test_pictures_carry_texts_unless_told_otherwise_and_are_read_back_alike(tmp_path):
    plain, spoken = tmp_path / "plain", tmp_path / "spoken"
    written = record(spoken)
    with open_archive(plain, metadata=None) as archive:
        archive.begin(RUN)
        archive.append(written)
    names = [path.name for path in (spoken / "images").iterdir()]
    for path in (Path("best.png"), *(Path("images") / name for name in names)):
        assert b"a red cube" in (spoken / path).read_bytes()
        assert b"a red cube" not in (plain / path).read_bytes()
        assert not Image.open(plain / path).info
    assert facts(read_recording(plain).history) == facts(written)


def test_a_line_holds_no_time_and_no_path(tmp_path):
    record(tmp_path / "one")
    record(tmp_path / "two")
    one, two = ((tmp_path / name / "history.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two
    assert str(tmp_path).encode() not in one
    lines = [json.loads(line) for line in one.splitlines()]
    assert [line["parent"] for line in lines[:3]] == [None, None, None]
    assert lines[-1]["cost"]["images"] == 7
    assert lines[-1]["seed"].keys() == {"pivot", "seed", "radius"}


def test_a_picture_says_how_it_came_about(tmp_path):
    best = record(tmp_path).best
    texts = Image.open(tmp_path / "best.png").info
    assert texts["reflectionflow_user_prompt"] == PROMPT
    assert texts["reflectionflow_reflection"] == best.reflection
    assert float(texts["reflectionflow_score"]) == best.score
    assert texts["reflectionflow_prompt"] == best.prompt
    assert json.loads(texts["reflectionflow_seed"]) == seed_to_json(best.seed)
    assert not {"prompt", "workflow"} & texts.keys()  # ComfyUI would read them as a graph


def test_galleries_read_how_a_picture_was_made_and_no_folder():
    image = Image.new("RGB", (640, 448))
    made = Candidate(
        image, "a cat, in the rain", 7, Verdict(0.5), 'add the text "OPEN", now', steps=30
    )
    actors = {"model": "/home/me/models/FLUX.1-dev", "guidance": 3.5}
    prompt, negative, settings = parameters(made, actors).split("\n")
    assert (prompt, negative) == ("a cat, in the rain", "Negative prompt: ")
    assert settings == (
        "Steps: 30, CFG scale: 3.5, Seed: 7, Size: 640x448, Model: FLUX.1-dev, "
        'Reflection: "add the text \\"OPEN\\", now", Version: ReflectionFlow'
    )
    moved = replace(made, seed=Neighbour(3, 9, 0.5), reflection="")
    assert "Seed: 9" in parameters(moved, {}) and "Model" not in parameters(moved, {})


def test_a_picture_carries_the_texts_that_it_is_given(tmp_path):
    with open_archive(tmp_path, metadata={"workflow": "{}"}) as archive:
        archive.begin(RUN)
        for history in search(PROMPT, SETTINGS, toy_actors(), archive.history):
            archive.append(history)
    pictures = [*(tmp_path / "images").glob("*.png"), tmp_path / "best.png"]
    assert all(Image.open(picture).info["workflow"] == "{}" for picture in pictures)


def test_a_line_cut_off_at_the_end_is_dropped_with_a_notice(tmp_path):
    record(tmp_path)
    path = tmp_path / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    recording = read_recording(tmp_path)
    assert len(recording.history) == 6
    assert "was cut off" in recording.notices[0]
    assert path.read_bytes() == whole[:-20]  # reading changes nothing
    record(tmp_path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b'"index": 2,', b'"index": 3,', "index 3, not 2"),
        (b'2, "image": "images/round-000-002', b'7, "image": "images/round-000-007', "not follow"),
        (b'"position": 2,', b'"position": 9,', "its image is not"),
        (b'"score": 0', b'"score": "', "damaged"),
        (b'"score": 0', b'"score": ' + b"9" * 400, "score is too large"),
        (b'"parent": null', b'"parent": 7', "comes later"),
        (b'"image": "images', b'"image": "../../x', "its image is not"),
        (b'"passed": null', b'"passed": 3', "passed is not true"),
        (b'"prompt": "', b'"prompt": 1, "x": "', "prompt is not a text"),
        (b'"cost": {', b'"cost": [], "x": {', "its cost"),
        (b"{", b"\xff{", "damaged"),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_changed(tmp_path, old, new, expected):
    record(tmp_path)
    path = tmp_path / "history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(old, new, 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"Line 3 of .*Restore it from a backup") as error:
        record(tmp_path)
    assert expected in str(error.value)
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"\x89PNG"), "is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-90]), "is damaged"),
        (lambda path: Image.new("RGB", (8, 8)).save(path), "does not match its checksum"),
    ],
)
def test_a_damaged_picture_is_named(tmp_path, damage, expected):
    record(tmp_path)
    damage(tmp_path / "images" / "round-001-000.png")
    with pytest.raises(InputError, match=r"round-001-000\.png.*Restore") as error:
        read_recording(tmp_path)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: path.unlink(), r"pictures and no history\.jsonl"),
        (lambda path: path.write_bytes(b""), r"history\.jsonl has 0 of them"),
        (lambda path: path.write_bytes(path.read_bytes().splitlines(True)[0]), "has 1 of them"),
    ],
)
def test_pictures_that_the_history_has_lost_are_not_painted_over(tmp_path, damage, expected):
    record(tmp_path)
    damage(tmp_path / "history.jsonl")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    with pytest.raises(InputError, match=expected), open_archive(tmp_path, resume=True):
        pass
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


def test_a_picture_whose_line_a_kill_prevented_is_painted_again(tmp_path):
    record(tmp_path)
    path = tmp_path / "history.jsonl"
    lines = path.read_bytes().splitlines(True)
    path.write_bytes(b"".join(lines[:-1]))
    assert len(read_recording(tmp_path).history) == len(lines) - 1


def test_damaged_times_only_start_counting_again(tmp_path):
    record(tmp_path)
    (tmp_path / "timing.json").write_text("{")
    recording = read_recording(tmp_path)
    assert recording.history.cost.total_seconds == 0
    assert "count from zero" in recording.notices[0]


def test_a_damaged_run_file_is_named(tmp_path):
    record(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json cannot be read"):
        read_recording(tmp_path)


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    record(tmp_path)
    (tmp_path / "timing.json").unlink()
    (tmp_path / "timing.json").mkdir()
    with pytest.raises(InputError, match=r"Cannot read .*timing\.json: Is a directory"):
        read_recording(tmp_path)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some)
)


@effort(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_whatever_stands_in_a_file_it_is_read_or_refused_in_words(data: st.DataObject) -> None:
    with TemporaryDirectory() as made:
        folder = Path(made)
        record(folder)
        name = data.draw(st.sampled_from(["run.json", "timing.json", "history.jsonl"]))
        path = folder / name
        text, *rest = (
            path.read_text().splitlines(True) if name == "history.jsonl" else [path.read_text()]
        )
        entry = json.loads(text)
        inner = entry
        key = data.draw(st.sampled_from(sorted(inner)))
        while isinstance(inner[key], dict) and inner[key] and data.draw(st.booleans()):
            inner = inner[key]
            key = data.draw(st.sampled_from(sorted(inner)))
        inner[key] = data.draw(values)
        path.write_text("".join([json.dumps(entry), "\n", *rest]))
        with suppress(InputError):
            read_recording(folder)


@pytest.mark.parametrize("name", ["run.json", "timing.json", "history.jsonl"])
def test_json_that_is_nested_too_deeply_is_refused_in_words(tmp_path: Path, name: str) -> None:
    record(tmp_path)
    (tmp_path / name).write_text("[" * 100_000 + "]" * 100_000 + "\n")
    with suppress(InputError):
        read_recording(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("prompt", 5, "prompt is 5, which is not str"),
        ("actors", None, "actors is None"),
        ("settings", {"stop": [1]}, r"stop is \[1\]"),
        ("settings", {"depth": "2"}, "depth is '2', which is not int"),
        ("settings", {"budget": None}, "None is not a JSON object"),
        ("settings", {"stages": [{"scene": ""}]}, "has no field 'objects'"),
        ("settings", {"of_tomorrow": 1}, "has 'of_tomorrow', which this version does not know"),
        ("settings", [], r"\[\] is not a JSON object"),
        ("calls", True, "calls is True"),
        ("format", 2, "no run of this version"),
    ],
)
def test_a_run_file_with_other_values_or_names_is_refused_by_them(
    tmp_path, key, value, reason
) -> None:
    record(tmp_path)
    path = tmp_path / "run.json"
    run = json.loads(path.read_text())
    run[key] = {**run[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(run))
    with pytest.raises(InputError, match=rf"run\.json cannot be read \(.*{reason}"):
        read_recording(tmp_path)


@pytest.mark.parametrize("seconds", ["NaN", "-5", "1e308"])
def test_times_that_are_none_start_counting_again(tmp_path: Path, seconds: str) -> None:
    record(tmp_path)
    (tmp_path / "timing.json").write_text(f'{{"seconds": {{"draft": {seconds}}}, "slowest": 1}}')
    assert "count from zero" in read_recording(tmp_path).notices[0]


def test_what_other_programs_put_beside_the_pictures_is_none_of_them(tmp_path: Path) -> None:
    record(tmp_path)
    for picture in list((tmp_path / "images").iterdir()):
        picture.with_name(f"._{picture.name}").write_bytes(b"of macOS")
    assert len(read_recording(tmp_path).history) == 7


def test_a_run_is_read_while_it_paints(tmp_path, monkeypatch):
    record(tmp_path)
    read_entries = archives._read_entries

    def meanwhile(*given: Any) -> Any:
        entries = read_entries(*given)
        for number in range(3):  # a batch that was judged together is written at once
            (tmp_path / "images" / f"round-003-{number:03d}.png").touch()
        return entries

    monkeypatch.setattr(archives, "_read_entries", meanwhile)
    assert len(read_recording(tmp_path).history) == 7


def test_a_second_process_is_refused_while_the_first_one_writes(tmp_path):
    with (
        open_archive(tmp_path / "run") as archive,
        pytest.raises(InputError, match="Another process is writing"),
        open_archive(archive.folder, resume=True),
    ):
        pass


def test_an_archive_in_which_nothing_began_leaves_no_trace(tmp_path):
    with open_archive(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_taken_only_to_resume(tmp_path):
    record(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InputError, match="already holds a run"), open_archive(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_full_disk_loses_nothing_that_was_painted(tmp_path, monkeypatch):
    complete = record(tmp_path / "complete")
    real, written = os.write, []

    def full_after_ten(descriptor, data):
        written.append(data)
        if len(written) == 11:
            return real(descriptor, bytes(data)[:5])
        if len(written) > 11:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(files.os, "write", full_after_ten)
    with pytest.raises(InputError, match=r"No space left on device\. Free some space"):
        record(tmp_path / "full")
    monkeypatch.undo()
    assert not list((tmp_path / "full").rglob("*.tmp"))
    assert 0 < len(read_recording(tmp_path / "full").history) < len(complete)
    record(tmp_path / "full")
    one, two = (tmp_path / name / "history.jsonl" for name in ("full", "complete"))
    assert one.read_bytes() == two.read_bytes()


def die(descriptor: int, data: Any, share: float) -> None:
    os.pwrite(descriptor, bytes(data)[: int(len(data) * share)], os.fstat(descriptor).st_size)
    os._exit(9)


def painted_until_write(folder: Path, number: int, share: float) -> bool:
    """Records in a process of its own, which dies in a write; False if it came to an end first."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    real, count = os.write, iter(range(10_000))
    files.os.write = lambda fd, data: (  # type: ignore[assignment]
        die(fd, data, share) if next(count) == number else real(fd, data)
    )
    record(folder)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_kill_in_any_write_is_resumed_to_the_same_history(tmp_path, share):
    record(tmp_path / "complete")
    kept = ("history.jsonl", "best.png")
    expected = [(tmp_path / "complete" / name).read_bytes() for name in kept]
    number = 0
    while painted_until_write(tmp_path / str(number), number, share):
        record(tmp_path / str(number))
        assert [(tmp_path / str(number) / name).read_bytes() for name in kept] == expected
        assert not list((tmp_path / str(number)).rglob("*.tmp"))
        number += 1
    assert number > 20


def test_any_text_of_any_model_survives(tmp_path):
    toys = Toys()
    odd = "line\nbreak \u2028 \x00 \ud800 中 😀 \"quoted\" {'json': 1}"
    toys.writer.reflect = lambda _, candidates, __: [odd] * len(candidates)  # type: ignore
    with open_archive(tmp_path) as archive:
        archive.begin(RUN)
        for history in search(PROMPT, SETTINGS, toys.actors()):
            archive.append(history)
    assert [*read_recording(tmp_path).history][-1].reflection == odd


def test_a_history_without_actions_is_resumed(tmp_path):
    whole = record(tmp_path / "whole")
    record(tmp_path / "old", replace(SETTINGS, depth=1))
    path = tmp_path / "old" / "history.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line.pop("action") for line in lines] == ["draft"] * 3 + ["correct"] * 2
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert facts(record(tmp_path / "old")) == facts(whole)
    read = read_recording(tmp_path / "old").history
    assert [candidate.action for candidate in read] == [""] * 5 + ["correct"] * 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"depth": 5, "stop": "passed", "budget": Budget(images=9)}, []),
        ({"depth": 1}, ["depth 2, now 1 (it can only be raised)"]),
        ({"seed": 4, "width": 3}, ["width 2, now 3", "seed 0, now 4"]),
    ],
)
def test_what_prevents_resuming_is_named(change, expected):
    settings = SearchSettings(**{"width": 2, "depth": 2, **change})
    recorded = Run(PROMPT, SearchSettings(width=2, depth=2))
    assert differences(recorded, Run(PROMPT, settings)) == expected


def test_weights_are_compared_by_content_and_not_by_path():
    here = Run(PROMPT, SETTINGS, {"model": "a/flux", "plan": None}, {"model": "1234"})
    moved = Run(PROMPT, SETTINGS, {"model": "b/flux", "plan": "streamed"}, {"model": "1234"})
    other = Run(PROMPT, SETTINGS, {"model": "a/flux", "plan": None}, {"model": "5678"})
    assert differences(here, moved) == []
    assert differences(here, other) == ["other contents of the model a/flux"]


def test_candidates_that_are_known_come_back_as_themselves(tmp_path):
    written = record(tmp_path)
    known = History(written.rounds[:2])
    with open_archive(tmp_path, resume=True, known=known) as archive:
        assert [a is b for a, b in zip(archive.history, written, strict=True)] == [True] * 5 + [
            False
        ] * 2
        assert archive.history.rounds[2][0].parent is written.rounds[1][0]


def test_a_history_of_which_nothing_is_recorded_yet_is_written_whole(tmp_path):
    known = record(tmp_path / "first")
    with open_archive(tmp_path / "second", resume=True, known=known) as archive:
        assert len(archive.history) == 0
        archive.begin(RUN)
        archive.append(known)
    assert facts(read_recording(tmp_path / "second").history) == facts(known)


def test_another_known_history_is_refused(tmp_path):
    record(tmp_path / "first")
    other = record(tmp_path / "second", replace(SETTINGS, seed=9))
    with pytest.raises(InputError, match=r"first holds another search\. Choose another folder\."):
        read_recording(tmp_path / "first", known=other)


def test_a_recording_gives_back_each_round_with_what_it_had_cost_by_then(tmp_path):
    written = record(tmp_path)
    with open_archive(tmp_path, resume=True) as archive:
        ends = [archive.until(index) for index in range(4)]
    assert [len(history) for history in ends] == [3, 5, 7, 7]
    assert [history.cost.images for history in ends] == [3, 5, 7, 7]
    assert ends[2].cost == written.cost
