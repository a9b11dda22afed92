"""Servers as hosts run them: what each refuses, where each puts its answer, how each fails.

Every script here has an oracle: a cup is there and it is red.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel
from vlm_asking import FAST, KEY, endpoint_of
from vlm_server import MODEL, Asked, Reply, Script, VlmServer, refuses, says

from reflectionflow_core.vlm.answers import ask
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.profiles import Profile

CUP = Question("Is the cup red?", (Image.new("RGB", (8, 8), "red"),), system="Be brief.")
DRAFT, ANSWER = '{"colour": "blue", "mark": 1}', '{"colour": "red", "mark": 9}'


class Seen(BaseModel):
    colour: str
    mark: float


RED = Seen(colour="red", mark=9)


def completion(message: dict[str, Any], finish: str = "stop", **more: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return Reply(json.dumps({"choices": [{**choice, **more}]}).encode())


def wanted(asked: Asked) -> str:
    """The right answer: an object where one is asked for, else yes."""
    is_json = "response_format" in asked.body or "JSON" in asked.text
    return ANSWER if is_json else "Yes"


def thinking(asked: Asked) -> bool:
    template = asked.body.get("chat_template_kwargs", {})
    return template.get("enable_thinking", True) and asked.body.get("reasoning_effort") != "none"


def room(asked: Asked) -> int:
    return asked.body.get("max_tokens") or asked.body["max_completion_tokens"]


def openai_reasoning(asked: Asked) -> Reply:
    body = asked.body
    if "max_tokens" in body:
        return refuses(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.")
    if body.get("temperature", 1) != 1:
        return refuses(400, "Unsupported value: 'temperature' does not support 0 with this model.")
    if "logprobs" in body:
        return refuses(403, "You are not allowed to request logprobs from this model.")
    for name in ("reasoning_effort", "chat_template_kwargs"):
        if name in body:
            return refuses(400, f"Unsupported value: '{name}'.")
    if room(asked) < 600:
        return says("", finish="length")
    return says(wanted(asked))


def openai_out_of_tokens(asked: Asked) -> Reply:
    if room(asked) < 600:
        words = "Could not finish the message because max_tokens or model output limit was reached."
        return refuses(400, words)
    return says(wanted(asked))


def gemini(asked: Asked) -> Reply:
    for name in ("seed", "logprobs", "chat_template_kwargs"):
        if name in asked.body:
            error = {"code": 400, "message": f'Unknown name "{name}": Cannot find field.'}
            return Reply(json.dumps([{"error": error}]).encode(), 400)
    if room(asked) < 600:
        return completion({}, "length")
    return says(wanted(asked))


def anthropic(asked: Asked) -> Reply:
    if asked.body.get("n", 1) > 1:
        return refuses(400, "`n` must be 1")
    if "response_format" in asked.body or "JSON" in asked.text:
        return says(f"Here it is:\n```json\n{ANSWER}\n```\nAnything else?")
    return says("**Yes**")


def ollama(asked: Asked) -> Reply:
    if asked.body.get("reasoning_effort") == "none":
        return says(wanted(asked))
    thought = {"content": "", "reasoning": "The user wants to know. No? " + DRAFT}
    return completion(thought, "length")


def lm_studio(asked: Asked) -> Reply:
    kind = asked.body.get("response_format", {}).get("type")
    if kind == "json_object":
        return refuses(400, "'response_format.type' must be 'json_schema' or 'text'")
    return says(wanted(asked))


def vllm_without_parser(asked: Asked) -> Reply:
    """Thoughts stand in the content and among the log-probabilities."""
    words = ["Yes"] if wanted(asked) == "Yes" else [ANSWER]
    if thinking(asked):
        words = ["<think>", "No", ", ", DRAFT, " wait", "</think>", "\n\n", *words]
    words = words[: room(asked)]
    odds = {"Yes": ("Yes", "No"), "No": ("No", "Yes")}
    tops = [
        [(first, 0.9), (second, 0.1)] if word in odds else [(word, 1.0)]
        for word in words
        for first, second in [odds.get(word, (word, word))]
    ]
    tokens = [
        {"token": w, "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in top]}
        for w, top in zip(words, tops, strict=True)
    ]
    finish = "length" if words[-1] not in ("Yes", ANSWER) else "stop"
    logprobs = {"content": tokens} if "logprobs" in asked.body else None
    return completion({"content": "".join(words)}, finish, logprobs=logprobs)


def vllm_that_always_thinks(asked: Asked) -> Reply:
    """Its template opens the thought, and no switch closes it."""
    if room(asked) < 600:
        return completion({"content": "Okay, the user wants"}, "length")
    return says(f"Okay, the user wants. No? {DRAFT}</think>\n\n{wanted(asked)}")


def five_logprobs(asked: Asked) -> Reply:
    if asked.body.get("top_logprobs", 0) > 5:
        return refuses(400, "top_logprobs must be less than or equal to 5")
    tops = {"Yes": math.log(0.9), "No": math.log(0.1)} if "logprobs" in asked.body else None
    return says(wanted(asked), tops=tops)


def magistral(asked: Asked) -> Reply:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": f"No? {DRAFT}"}]}
    return completion({"content": [thought, {"type": "text", "text": wanted(asked)}]})


def without_system(asked: Asked) -> Reply:
    if asked.body["messages"][0]["role"] == "system":
        return refuses(400, "System role not supported")
    return says(wanted(asked))


def llama_cpp_grammar(asked: Asked) -> Reply:
    if asked.body.get("response_format", {}).get("type") == "json_schema":
        return refuses(400, "failed to parse grammar: maxLength 2000 too large")
    return says(wanted(asked))


def transformers_serve(asked: Asked) -> Reply:
    """It ignores samples, log-probabilities and forms, and thinks as its model does."""
    return says(f"<think>\nfirst {DRAFT}\n</think>\n{wanted(asked)}")


def as_a_tool(asked: Asked) -> Reply:
    function = {"name": "answer", "arguments": wanted(asked)}
    return completion({"content": None, "tool_calls": [{"type": "function", "function": function}]})


def as_a_stream(asked: Asked) -> Reply:
    parts = [{"choices": [{"delta": {"content": part}}]} for part in (wanted(asked), "")]
    lines = [f"data: {json.dumps(part)}\n\n" for part in parts]
    return Reply("".join([*lines, "data: [DONE]\n\n"]).encode())


HOSTS: list[Callable[[Asked], Reply]] = [
    openai_reasoning,
    openai_out_of_tokens,
    gemini,
    anthropic,
    ollama,
    lm_studio,
    vllm_without_parser,
    vllm_that_always_thinks,
    five_logprobs,
    magistral,
    without_system,
    llama_cpp_grammar,
    transformers_serve,
    as_a_tool,
    as_a_stream,
]


@pytest.mark.parametrize("host", HOSTS)
def test_every_host_answers_closed_questions(host: Script) -> None:
    with VlmServer(host) as server:
        endpoint = endpoint_of(server)
        first, second = endpoint.choose([CUP], ("yes", "no")), endpoint.choose([CUP], ("yes", "no"))
        learnt = len(server.asked)
        third = endpoint.choose([CUP], ("yes", "no"))
    assert not server.errors
    for (odds,) in (first, second, third):
        assert isinstance(odds, tuple) and odds[0] >= 0.8, odds
    assert len(server.asked) - learnt <= 3  # nothing that was refused is tried again


@pytest.mark.parametrize("host", HOSTS)
def test_every_host_answers_with_objects_and_no_draft_is_taken(host: Script) -> None:
    with VlmServer(host) as server:
        endpoint = endpoint_of(server)
        assert ask(endpoint, [CUP], Seen) == ask(endpoint, [CUP], Seen) == [RED]
    assert not server.errors


def test_probabilities_behind_a_thought_are_read() -> None:
    with VlmServer(vllm_without_parser) as server:
        (odds,) = endpoint_of(server).choose([CUP], ("yes", "no"))
    assert odds == pytest.approx((0.9, 0.1))
    first, second = server.asked
    assert room(first) == 4 and room(second) > 600
    assert second.body["chat_template_kwargs"] == {"enable_thinking": False}


def test_few_log_probabilities_are_better_than_none() -> None:
    with VlmServer(five_logprobs) as server:
        (odds,) = endpoint_of(server).choose([CUP], ("yes", "no"))
    assert odds == pytest.approx((0.9, 0.1)) and len(server.asked) == 2


def test_a_profile_that_sets_thinking_itself_is_obeyed() -> None:
    with VlmServer([says("", finish="length"), says("yes")]) as server:
        profile = Profile("mine", server.url, KEY, MODEL, extra={"reasoning_effort": "low"})
        assert Endpoint(profile, FAST).chat([CUP]) == ["yes"]
    sent = [(a.body["reasoning_effort"], "chat_template_kwargs" in a.body) for a in server.asked]
    assert sent == [("low", False), ("low", False)]


def test_a_thought_that_fills_all_its_room_is_named_after_two_requests() -> None:
    with VlmServer([completion({"content": "", "reasoning": "yes"}, "length")]) as server:
        (failure,) = endpoint_of(server).choose([CUP], ("yes", "no"))
    assert failure == Failure(
        "The endpoint mine reached the limit of tokens before it began to answer; give its profile "
        'more "max_tokens".'
    )
    assert len(server.asked) == 2


def test_a_refusal_is_shown_in_its_words_and_not_asked_again() -> None:
    with VlmServer([completion({"content": None, "refusal": "I can't judge people."})]) as server:
        (failure,) = endpoint_of(server).chat([CUP])
    assert failure == Failure(
        'The endpoint mine declined to answer and said "I can\'t judge people.".'
    )
    assert len(server.asked) == 1


def provider(code: object, message: str = "Provider returned error", **metadata: Any) -> Reply:
    error = {"message": message, "code": code, "metadata": metadata}
    return Reply(json.dumps({"error": error}).encode())


ERRORS = {
    "rate limit under 200": (
        provider(429, raw='{"error": {"message": "slow down"}}'),
        'answered 429 (too many requests) 3 times and said "Provider returned error: slow down"',
        3,
    ),
    "no credit under 200": (
        provider(402, "Insufficient credits"),
        'answered 402 (payment required) and said "Insufficient credits"; add credit',
        1,
    ),
    "named instead of numbered": (
        provider("invalid_api_key", "who are you"),
        'answered 401 (unauthorized) and said "who are you"; check the api_key',
        1,
    ),
    "in a choice": (
        completion({"content": ""}, "error", error={"message": "overloaded", "code": 502}),
        'answered 502 (bad gateway) 3 times and said "overloaded"',
        3,
    ),
    "in a list": (
        Reply(b'[{"error": {"code": 503, "message": "The model is overloaded."}}]'),
        'answered 503 (service unavailable) 3 times and said "The model is overloaded."',
        3,
    ),
    "without a number": (
        Reply(b'{"error": "something went wrong"}'),
        'answered with an error 3 times and said "something went wrong"; try again later',
        3,
    ),
    "no quota": (
        refuses(429, "You exceeded your current quota (insufficient_quota)."),
        "answered 402 (payment required) and said",
        1,
    ),
    "blind": (
        refuses(500, "image input is not supported - hint: you may need to provide the mmproj"),
        'answered 500 (internal server error) and said "image input is not supported',
        1,
    ),
    "blind router": (
        refuses(404, "No endpoints found that support image input"),
        'answered 404 (not found) and said "No endpoints found that support image input"; '
        "choose a model that sees pictures",
        1,
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_counts_as_what_it_is_wherever_it_stands(name: str) -> None:
    reply, words, requests = ERRORS[name]
    with VlmServer([reply]) as server:
        (failure,) = endpoint_of(server).chat([CUP])
    assert isinstance(failure, Failure)
    assert failure.reason.startswith(f"The endpoint mine {words}"), failure.reason
    assert len(server.asked) == requests


@pytest.mark.parametrize(
    "body",
    [
        b'[{"error": {"code": 429, "message": "quota", "details": [{"retryDelay": "0.4s"}]}}]',
        b'{"error": {"code": 429, "message": "Rate limit reached. Please try again in 400ms."}}',
        b'{"error": {"code": 429, "message": "slow down", "retry_after": 0.4}}',
    ],
)
@pytest.mark.parametrize("status", [200, 429])
def test_the_delay_that_a_body_asks_for_is_kept(body: bytes, status: int) -> None:
    import time

    began = time.monotonic()
    with VlmServer([Reply(body, status), says("yes")]) as server:
        assert endpoint_of(server, replace(FAST, longest_pause=5)).chat([CUP]) == ["yes"]
    assert time.monotonic() - began >= 0.4


def test_a_server_that_loads_its_model_is_waited_for_and_loses_no_try() -> None:
    loading = refuses(503, "Loading model")
    with VlmServer([*[loading] * 9, says("yes")]) as server:
        assert endpoint_of(server).chat([CUP]) == ["yes"]
    with VlmServer([loading]) as server:
        (failure,) = endpoint_of(server, replace(FAST, loading_seconds=0.2)).chat([CUP])
    assert isinstance(failure, Failure) and "Loading model" in failure.reason
