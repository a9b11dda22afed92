"""Structured answers: what can be read is read, the rest is asked once more or named."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.verifiers.rubric import Mark
from reflectionflow_core.vlm.answers import MAX_LENGTH, ask, parse
from reflectionflow_core.vlm.interface import Failure, Question, Usage


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str
    score: float = Field(ge=0, le=1)
    words: list[str] = []


class Free(BaseModel):
    """Takes nearly everything."""

    model_config = ConfigDict(extra="allow")
    size: float = 0.0


class Scripted:
    """A Vlm that gives the answers it was told to, batch by batch, and keeps what it was asked."""

    def __init__(self, *batches: Sequence[str | Failure]) -> None:
        self.batches = list(batches)
        self.asked: list[list[Question]] = []
        self.phases: list[str] = []

    @property
    def usage(self) -> Usage:
        return Usage(sum(map(len, self.asked)))

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        self.asked.append(list(questions))
        self.phases.append(phase)
        return list(self.batches.pop(0))

    def choose(self, *_: Any, **__: Any) -> list[tuple[float, ...] | Failure]:
        raise NotImplementedError


GOOD = Note(id="a", score=0.5, words=["red", "圆"])
TEXT = GOOD.model_dump_json()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"```json\n{TEXT}\n```",
        f"Here you are: {TEXT} I hope {{that}} helps.",
        f"Braces {{like this}} first, then {TEXT}",
        f"{{{TEXT}}}",
        f'{{"id": 3, "other": {{"id": "x"}}}} sorry, I meant {TEXT}',
        f"<think>{{maybe}}</think>\n\n{TEXT}",
        json.dumps(json.loads(TEXT), indent=4).replace("\n", "\r\n"),
    ],
)
def test_an_object_is_found_wherever_it_stands(text: str) -> None:
    assert parse(text, Note) == GOOD


DRAFT = '{"id": "draft", "score": 0.1, "words": []}'


@pytest.mark.parametrize(
    "text",
    [
        f"<think>First idea: {DRAFT} - no, look again.</think>\n{TEXT}",
        f"First idea: {DRAFT}</think>\n{TEXT}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant"
        f"<|channel|>final<|message|>{TEXT}",
        f"{DRAFT}\nLooking closely, I correct myself:\n{TEXT}",
        f"{TEXT}\nThe form was {{'id': ..., 'score': ...}}.",
        f"<|begin_of_box|>{TEXT}<|end_of_box|>",
        f'{{"answer": {TEXT}}}',
        json.dumps({"name": "answer", "arguments": TEXT}),
        f"[{TEXT}]",
        json.dumps(TEXT),
        "{" * 21 + TEXT,
    ],
)
def test_the_last_object_that_fits_is_the_answer_and_no_draft(text: str) -> None:
    assert parse(text, Note) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "a", "score": 0.5, "words": ["red", "圆",],}',
        "{'id': 'a', 'score': 0.5, 'words': ['red', '圆']}",
        "{“id”: “a”, “score”: 0.5, “words”: [“red”, “圆”]}",
        '{"id"：“a”，"score"：.5，"words"：["red"，"圆"]}',
        '{"id": "a", // the name\n "score": 0.5, /* so so */ "words": ["red", "圆"] # two\n}',
        '{id: "a", score: +0.5, words: ["red", "圆"]}',
        '{"ID": "a", "Score": 0.5, "Words": ["red", "圆"]}',
        '{"id": "a", "score": "0.5", "words": ["red", "圆"]}',
        '{"id": "a", "score": "0,5", "words": ["red", "圆"]}',
        '{"id": "a", "score": "0.5/1", "words": ["red", "圆"]}',
        '{"id": "a", "score": "0.5 out of 1", "words": ["red", "圆"]}',
        '{"id": "a", "score": 0.5/1, "words": ["red", "圆"]}',
    ],
)
def test_slips_with_one_meaning_are_read(text: str) -> None:
    assert parse(text, Note) == GOOD


class Marked(BaseModel):
    """A mark, and what has a default, a list of texts and one of objects."""

    mark: Mark
    fault: str = "none"
    words: list[str]
    notes: list[Note] = []


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ({"mark": 9}, {"mark": Mark(reason="", mark=9)}),
        ({"mark": "9/10"}, {"mark": Mark(reason="", mark=9)}),
        ({"mark": {"mark": 9}}, {"mark": Mark(reason="", mark=9)}),
        ({"mark": "good"}, "mark: Input should be an object"),
        ({"mark": 11}, "mark: Input should be an object"),
        ({"mark": {"reason": "good"}}, "mark.mark: Field required"),
        ({"fault": None}, {"fault": "none"}),
        ({"words": "a red cup"}, {"words": ["a red cup"]}),
        ({"words": "None"}, {"words": []}),
        ({"words": None}, {"words": []}),
        ({"words": [{"edit": "a red cup"}]}, {"words": ["a red cup"]}),
        ({"words": [{"edit": "add", "what": "a cup"}]}, "words.0: Input should be a valid string"),
        ({"notes": "none"}, {"notes": []}),
        ({"notes": "a red cup"}, "notes: Input should be a valid array"),
    ],
)
def test_a_part_in_another_form_is_read_where_it_has_one_meaning(
    slip: dict[str, Any], meant: dict[str, Any] | str
) -> None:
    right = {"mark": {"reason": "r", "mark": 8}, "words": ["red"]}
    answer = parse(json.dumps({**right, **slip}), Marked)
    if isinstance(meant, str):
        assert isinstance(answer, Failure) and meant in answer.reason
    else:
        assert answer == Marked.model_validate(right).model_copy(update=meant)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"one\ntwo"', "one\ntwo"),
        ('"one\ttwo"', "one\ttwo"),
        ('"a sign says "STOP" twice"', 'a sign says "STOP" twice'),
        ("'it\\'s red'", "it's red"),
        ("'it's red'", "it's red"),
        ('"50\\% red"', "50% red"),
        ('"\\u5706 \\ud83d\\ude00",', "圆 \N{GRINNING FACE}"),
    ],
)
def test_texts_keep_their_words_whatever_slips_stand_around_them(written: str, meant: str) -> None:
    answer = parse(f'{{"id": {written}, "score": 1}}'.replace(",,", ","), Note)
    assert isinstance(answer, Note) and answer.id == meant


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "a", "score": "9/10"}',
        '{"id": "a", "score": "0.5/10"}',
        '{"id": "a", "score": "about a half"}',
        '{"id": "a", "score": "1,000"}',
        f"<scratchpad>Perhaps {DRAFT}",
        '{"id": "a", "score": 0.5, "words": ["red", "bl',
        "{'id': 'a', 'score': 0.5, 'words': ['red'",
        '{"id": "a" "score": 0.5}',
        f"<think>Perhaps {DRAFT} but let me look",
    ],
)
def test_what_is_unclear_or_cut_is_no_answer(text: str) -> None:
    assert isinstance(parse(text, Note), Failure)


@pytest.mark.parametrize(
    "part", ["{", '{"a":', '{"a":"', "{'", "{/*", "{//", '{"a":[', "<think>{", "{a:{", '{"a" : 1 ']
)
def test_no_text_takes_long_to_read(part: str) -> None:
    began = time.thread_time()
    assert isinstance(parse(part * (MAX_LENGTH // len(part)), Note), Failure)
    assert time.thread_time() - began < 10


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "contains no JSON object"),
        ("我看到一个红色的圆圈。", "contains no JSON object"),
        ("{" * 100_000, "contains no JSON object"),
        ('{"id":' * 5000, "contains no JSON object"),
        (TEXT[:-5], "contains no JSON object"),
        ('{"id": "a", "score": NaN}', "contains no JSON object"),
        ('{"id": "a", "score": -Infinity}', "contains no JSON object"),
        ('{"id": "a", "score": 1e999}', "contains no JSON object"),
        ('{"id": "a"}', "score: Field required"),
        ('{"id": "a", "score": null}', "score: Input should be a valid number"),
        ('{"id": "a", "score": 7}', "score: Input should be less than or equal to 1"),
        ('{"id": "a", "score": 1, "why": 2}', "why: Extra inputs"),
        ('{"id": "a", "score": 1, "words": 3}', "words: Input should be a valid array"),
        ('{"id": "a", "score": 1, "words": [null]}', "words.0: Input should be a valid string"),
        ('{"id": "\\ud800", "score": 1}', "the object: Invalid JSON: unexpected end of hex"),
        ("{}" * MAX_LENGTH, f"{2 * MAX_LENGTH} characters"),
    ],
)
def test_what_cannot_be_used_is_named_in_a_sentence(text: str, reason: str) -> None:
    failure = parse(text, Note)
    assert isinstance(failure, Failure)
    assert reason in failure.reason and failure.reason.endswith(".")


def test_no_reason_repeats_what_was_answered() -> None:
    secret = "plantedKey0123456789"
    for text in (secret, json.dumps({"id": [secret], "score": secret}), f'{{"{secret}'):
        failure = parse(text, Note)
        assert isinstance(failure, Failure) and secret not in failure.reason


def test_a_made_up_field_is_named_on_one_line_and_in_part() -> None:
    failure = parse(json.dumps({"id": "a", "score": 1, "line\nbreak" * 1000: 1}), Note)
    assert isinstance(failure, Failure)
    assert len(failure.reason) < 200 and "\n" not in failure.reason


def test_a_number_that_is_none_passes_no_field_however_free() -> None:
    for digits in ("1e999", "-1e999", "NaN", "Infinity"):
        assert isinstance(parse(f'{{"size": {digits}}}', Free), Failure)


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "replace")))
def test_any_text_is_an_answer_or_a_failure(text: str) -> None:
    found = parse(text, Note)
    assert isinstance(found, Note) or (isinstance(found, Failure) and found.reason.endswith("."))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "score", "words", "why"]), JSON), st.text())
def test_any_object_is_a_valid_answer_or_a_failure(value: dict[str, object], prose: str) -> None:
    found = parse(f"{prose}{json.dumps(value)}", Note)
    if isinstance(found, Note):
        assert 0 <= found.score <= 1
        found.model_dump_json().encode("utf-8")
    else:
        assert isinstance(found, Failure)


@given(
    st.builds(
        Note,
        id=st.text(),
        score=st.floats(0, 1),
        words=st.lists(st.text(), max_size=4),
    ),
    st.text(st.characters(exclude_characters="{")),
    st.text(st.characters(exclude_characters="{")),  # what begins there is the answer, cut off
    st.booleans(),
)
def test_a_right_answer_survives_any_prose_around_it(
    note: Note, before: str, after: str, ascii_only: bool
) -> None:
    written = json.dumps(note.model_dump(), ensure_ascii=ascii_only)
    assert parse(f"{before}{written}{after}", Note) == note


@given(st.integers(0, len(TEXT) - 1))
def test_a_cut_answer_is_a_failure(length: int) -> None:
    assert isinstance(parse(TEXT[:length], Note), Failure)


def test_only_what_could_not_be_read_is_asked_again_with_the_mistake_shown() -> None:
    down = Failure("The server is down.")
    vlm = Scripted([TEXT, "no idea", down, '{"id": "d"}'], [TEXT, "still none"])
    answers = ask(vlm, [Question(f"question {i}", system="be brief") for i in range(4)], Note)
    assert answers[:3] == [GOOD, GOOD, down]
    assert answers[3] == Failure("The model's answer contains no JSON object.")
    first, second = vlm.asked
    assert all(question.schema == Note.model_json_schema() for question in (*first, *second))
    assert [question.text.splitlines()[0] for question in second] == ["question 1", "question 3"]
    assert "no idea" in second[0].text and "score: Field required" in second[1].text
    assert second[0].system == "be brief"


def test_a_long_wrong_answer_is_shown_in_part() -> None:
    vlm = Scripted(["x" * 100_000], [TEXT])
    assert ask(vlm, [Question("what")], Note) == [GOOD]
    assert len(vlm.asked[1][0].text) < 3_000


def test_nothing_is_asked_again_when_all_is_well() -> None:
    vlm = Scripted([TEXT])
    assert ask(vlm, [Question("what")], Note, phase="judge") == [GOOD]
    assert vlm.phases == ["judge"]


def test_scores_are_finite() -> None:
    found = parse('{"size": 1e308}', Free)
    assert isinstance(found, Free) and math.isfinite(found.size)
