"""Answers in the forms in which servers send them: in pieces, in parts, decoded, beside an empty
error; and answers of a filter or of a model that got no picture, which are none."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel
from vlm_asking import endpoint_of
from vlm_hosts import DRAFT, Script, completion, room, wanted
from vlm_server import Asked, Reply, VlmServer, refuses, says

from reflectionflow_core.vlm.answers import ask
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.replies import is_number

RED, BLUE = (
    Question("Is the cup red?", (Image.new("RGB", (8, 8), colour),), system="Be brief.")
    for colour in ("red", "blue")
)


class Seen(BaseModel):
    colour: str
    mark: float


def stream(events: Sequence[dict[str, Any]]) -> Reply:
    lines = [f"data: {json.dumps(event)}\r\n\r\n" for event in events]
    return Reply("".join([": processing\n\n", *lines, "data: [DONE]\n\n"]).encode())


def event(delta: Any, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": None, **more}]}


def interleaved(asked: Asked) -> Reply:
    count = asked.body.get("n", 1)
    return stream([event({"content": c}, i) for c in wanted(asked) for i in range(count)])


def whole_message(asked: Asked) -> Reply:
    return stream([event(None, message={"role": "assistant", "content": wanted(asked)})])


def tool_in_pieces(asked: Asked) -> Reply:
    calls = ({"tool_calls": [{"function": {"arguments": letter}}]} for letter in wanted(asked))
    return stream([event(call) for call in calls])


def thought_in_pieces(asked: Asked) -> Reply:
    thought = [event({"reasoning_content": "Let me look at that."})] * 10_000  # above any limit
    end = [event({}, finish_reason="length")]
    return stream(thought + (end if room(asked) < 600 else [event({"content": wanted(asked)})]))


def only_in_pieces(asked: Asked) -> Reply:
    if asked.body.get("stream") is not True:
        return refuses(400, "This model only support stream mode, please enable the stream.")
    return interleaved(asked)


def in_a_message(**fields: str) -> Script:
    """A script whose message has these fields; TEXT and DATA in their JSON stand for the
    answer as text and decoded."""

    def script(asked: Asked) -> Reply:
        answer = wanted(asked)
        data = answer if "{" in answer else json.dumps(answer == "Yes")
        text = json.dumps(answer)
        made = {n: f.replace("TEXT", text).replace("DATA", data) for n, f in fields.items()}
        return completion({name: json.loads(form) for name, form in made.items()})

    return script


def beside(error: Any) -> Script:
    def script(asked: Asked) -> Reply:
        return Reply(json.dumps({**json.loads(says(wanted(asked)).body), "error": error}).encode())

    return script


ANSWERS = {
    "several answers streamed at once": interleaved,
    "a stream of one whole message": whole_message,
    "a stream of a tool's arguments": tool_in_pieces,
    "a stream with a long thought": thought_in_pieces,
    "a model that only streams": only_in_pieces,
    "a decoded answer": in_a_message(content="DATA"),
    "a text with a value": in_a_message(content='[{"type": "text", "text": {"value": TEXT}}]'),
    "a part that is a thought": in_a_message(
        content=f'[{{"thought": true, "text": {json.dumps("No? " + DRAFT)}}}, {{"text": TEXT}}]'
    ),
    "an empty error beside it": beside({"message": "", "type": "", "param": "", "code": None}),
    "an error with code 0 beside it": beside({"code": 0, "message": "success"}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_in_every_form(name: str) -> None:
    with VlmServer(ANSWERS[name]) as server:
        endpoint = endpoint_of(server)
        assert ask(endpoint, [RED], Seen) == [Seen(colour="red", mark=9)]
        if "tool" not in name:
            of_red, of_blue = endpoint.choose([RED, BLUE], ("yes", "no"))
            assert isinstance(of_red, tuple) and isinstance(of_blue, tuple)
            assert of_red[0] >= 0.8 and of_blue[0] <= 0.2
    assert not server.errors


def test_arguments_of_a_tool_are_read_beside_prose() -> None:
    tool = '[{"type": "function", "function": {"name": "answer", "arguments": TEXT}}]'
    with VlmServer(in_a_message(content='"I fill in the form."', tool_calls=tool)) as server:
        assert ask(endpoint_of(server), [RED], Seen) == [Seen(colour="red", mark=9)]


def test_probabilities_and_tokens_of_a_stream_are_read() -> None:
    def script(asked: Asked) -> Reply:
        tops = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.5}]
        step = {"token": "Yes", "logprob": -0.1, "top_logprobs": tops}
        usage = {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 1}}
        return stream([event({"content": "Yes"}, logprobs={"content": [step]}), usage])

    with VlmServer(script) as server:
        endpoint = endpoint_of(server)
        (odds,) = endpoint.choose([RED], ("yes", "no"))
    assert isinstance(odds, tuple) and odds[0] == pytest.approx(0.917, abs=0.001)
    assert len(server.asked) == 1 and endpoint.usage.prompt_tokens == 30


@pytest.mark.parametrize("scores", [(0.0, 0.0), (0.1, 2.4)])
def test_numbers_that_are_no_log_probabilities_are_not_taken_for_some(
    scores: tuple[float, float],
) -> None:
    def script(asked: Asked) -> Reply:
        answer = wanted(asked)
        other = "No" if answer == "Yes" else "Yes"
        tops = dict(zip((answer, other), scores, strict=True))
        return says(answer, tops=tops if "logprobs" in asked.body else None)

    with VlmServer(script) as server:
        of_red, of_blue = endpoint_of(server).choose([RED, BLUE], ("yes", "no"))
    assert isinstance(of_red, tuple) and isinstance(of_blue, tuple)
    assert of_red[0] == of_blue[1] == pytest.approx(0.8)  # of three samples


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (completion({}, "content_filter: PROHIBITED_CONTENT"), "was stopped by its filter"),
        (completion({"content": ""}, "refusal"), "was stopped by its filter"),
        (completion({"content": [{"type": "refusal", "refusal": "I cannot."}]}), '"I cannot."'),
        (completion({"content": "No image was provided."}), "none of the choices"),
        (completion({"content": "No, I cannot see any picture."}), "none of the choices"),
    ],
)
def test_a_filter_a_refusal_and_a_missing_picture_are_no_answer(reply: Reply, why: str) -> None:
    with VlmServer([reply]) as server:
        (failure,) = endpoint_of(server).choose([RED], ("yes", "no"))
    assert isinstance(failure, Failure) and why in failure.reason


def test_only_compressions_that_are_read_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import openai

    # The client does so if the packages brotli or zstandard are installed.
    header = {"accept-encoding": "gzip, deflate, br, zstd"}
    client = functools.partial(openai.DefaultAsyncHttpxClient, headers=header)
    monkeypatch.setattr(openai, "DefaultAsyncHttpxClient", client)
    with VlmServer([says("yes")]) as server:
        assert endpoint_of(server).chat([RED]) == ["yes"]
    assert server.asked[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf"), 10**400])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert not is_number(value)
    assert is_number(-0.1) and is_number(3)


def test_an_error_code_of_thousands_of_digits_is_no_status() -> None:
    error = {"error": {"message": "Your key is not known.", "code": "9" * 5000}}
    with VlmServer(lambda _: Reply(json.dumps(error).encode(), 401)) as server:
        (answer,) = endpoint_of(server).chat([Question("?")])
    assert isinstance(answer, Failure) and "Your key is not known." in answer.reason
