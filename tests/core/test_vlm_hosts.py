"""Servers as hosts run them (vlm_hosts.py), and their errors, whatever body they come in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fakes import Watcher
from PIL import Image
from pydantic import BaseModel
from vlm_asking import FAST, KEY, endpoint_of
from vlm_hosts import (
    HOSTS,
    Host,
    completion,
    five_logprobs,
    room,
    vllm_without_parser,
    wanted,
)
from vlm_server import MODEL, Asked, Reply, VlmServer, refuses, says

from reflectionflow_core.vlm import sending
from reflectionflow_core.vlm.answers import ask
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.server_errors import ServerError, error_of_status

CUP = Question("Is the cup red?", (Image.new("RGB", (8, 8), "red"),), system="Be brief.")


class Seen(BaseModel):
    colour: str
    mark: float


RED = Seen(colour="red", mark=9)


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_every_host_answers_closed_questions(host: Host) -> None:
    with VlmServer(host.script) as server:
        endpoint = endpoint_of(server)
        first, second = endpoint.choose([CUP], ("yes", "no")), endpoint.choose([CUP], ("yes", "no"))
        learnt = len(server.asked)
        third = endpoint.choose([CUP], ("yes", "no"))
    assert not server.errors
    for (odds,) in (first, second, third):
        assert isinstance(odds, tuple) and odds[0] >= 0.8, odds
    assert len(server.asked) - learnt <= 3  # nothing that was refused is tried again


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_every_host_answers_with_objects_and_no_draft_is_taken(host: Host) -> None:
    with VlmServer(host.script) as server:
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


def test_a_long_thought_with_its_log_probabilities_is_read_to_its_end() -> None:
    def script(asked: Asked) -> Reply:
        words = ["<think>", *[" word"] * 900, "</think>", "red" if "blue" in asked.text else "Yes"]
        words = words[: room(asked)]
        if "logprobs" not in asked.body:
            return completion({"content": "".join(words)})
        each = [
            {"token": f"rival {i}", "logprob": -9.1234567, "bytes": [114] * 8} for i in range(19)
        ]
        tokens = [
            {
                "token": word,
                "logprob": -0.01,
                "top_logprobs": [{"token": word, "logprob": -0.01}, *each],
            }
            for word in words
        ]
        finish = "length" if words[-1] == " word" else "stop"
        return completion({"content": "".join(words)}, finish, logprobs={"content": tokens})

    with VlmServer(script) as server:
        (found,) = endpoint_of(server).choose([CUP], ("yes", "no"))
    assert not server.errors and not isinstance(found, Failure)
    yes, no = found
    assert yes > 0.9 > no


def small_context(asked: Asked) -> Reply:
    """vLLM with a context of 4,096 tokens, 900 for a picture, and a model that answers in prose."""
    most = 4096 - 900 * len(asked.pictures)
    if room(asked) > most:
        return refuses(
            400,
            f"'max_tokens' or 'max_completion_tokens' is too large: {room(asked)}. This model's "
            f"maximum context length is 4096 tokens ({room(asked)} > {most}).",
        )
    if room(asked) < 20:
        return says("Looking closely at", finish="length")
    return says(f"Looking closely at the picture I find:\n{wanted(asked)}")


def test_a_thought_gets_as_many_tokens_as_the_server_has_and_that_is_remembered() -> None:
    with VlmServer(small_context) as server:
        endpoint = endpoint_of(server)
        (odds,) = endpoint.choose([CUP], ("yes", "no"))
        assert isinstance(odds, tuple) and odds[0] > 0.7
        assert not isinstance(endpoint.chat([replace(CUP, max_tokens=200)])[0], Failure)
        pair = replace(CUP, images=CUP.images * 2)
        assert not isinstance(endpoint.chat([pair])[0], Failure)
        first = [room(asked) for asked in server.asked]
        endpoint.chat([CUP, pair])
        again = sorted(room(asked) for asked in server.asked[len(first) :])
    # The room of a question with one picture does not shrink with that of two.
    assert first.count(4100) == 1 and again == [512 + 1024, 512 + 2048]


@pytest.mark.parametrize(
    ("too_much", "words"),
    [
        (True, "maximum context length is 4096 tokens. However, you requested 4700 tokens "
         "(600 in the messages, 4100 in the completion). Please reduce the length."),
        (True, "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 600 and 4100"),
        (True, "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens"),
        (True, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        (True, "You passed 600 input tokens and requested 4100 output tokens; at most 4096 fit"),
        (True, "Request too large for model: Limit 6000, Requested 8192"),
        (False, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        (False, "max_tokens or model output limit was reached. Try again with higher max_tokens."),
        (False, "maximum context length is 4096 tokens. However, your messages have 5000 tokens."),
        (False, "top_logprobs must be less than or equal to 5"),
        (False, "Requested sample logprobs of 20, which is greater than max allowed: 5"),
    ],
)  # fmt: skip
def test_that_fewer_tokens_would_do_is_known_by_the_words(too_much: bool, words: str) -> None:
    assert ServerError(400, words).asked_too_much == too_much


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
        'answered with an error and said "who are you"; check the api_key',
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
        'answered 429 (too many requests) and said "You exceeded your current quota '
        '(insufficient_quota)."; add credit with its provider',
        1,
    ),
    "no quota by name": (
        provider("insufficient_quota", "You exceeded your current quota."),
        'answered with an error and said "You exceeded your current quota."; add credit',
        1,
    ),
    "no credit, called a bad request": (
        refuses(400, "Your credit balance is too low to access the API."),
        'answered 400 (bad request) and said "Your credit balance is too low to access the API."; '
        "add credit",
        1,
    ),
    "an object that is no completion": (
        Reply(b'{"object": "error", "message": "The GPU is busy.", "code": 429}'),
        'answered 429 (too many requests) 3 times and said "The GPU is busy."',
        3,
    ),
    "a key, without a status": (
        Reply(b'{"base_resp": {"status_code": 1004, "status_msg": "login fail: no secret key"}}'),
        'answered with an error and said "login fail: no secret key"; check the api_key',
        1,
    ),
    "a list of errors": (
        Reply(b'{"success": false, "errors": [{"message": "Invalid model: toy"}]}', 400),
        'answered 400 (bad request) and said "Invalid model: toy"; check the base_url',
        1,
    ),
    "an empty account": (
        refuses(403, "Sorry, your account balance is insufficient"),
        'answered 403 (forbidden) and said "Sorry, your account balance is insufficient"; add',
        1,
    ),
    "a provider's words as an object": (
        provider(502, raw={"error": {"message": "too busy"}}),
        'answered 502 (bad gateway) 3 times and said "Provider returned error: too busy"',
        3,
    ),
    "slow": (refuses(408), "answered 408 (request timeout) 3 times; try again later.", 3),
    "blind, by its number of pictures": (
        refuses(400, "At most 0 image(s) may be provided in one prompt."),
        'answered 400 (bad request) and said "At most 0 image(s) may be provided in one prompt."; '
        "choose a model that sees pictures",
        1,
    ),
    "under other names": (
        Reply(b'{"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}'),
        'answered with an error and said "insufficient balance"; add credit',
        1,
    ),
    "in a stream": (
        Reply(b': wait\n\ndata: {"error": {"message": "slow down", "code": 429}}\n\ndata: [DONE]'),
        'answered 429 (too many requests) 3 times and said "slow down"',
        3,
    ),
    "in plain text": (
        Reply(b"model 'x' not found,\ntry pulling it first\n", 404),
        "answered 404 (not found) and said \"model 'x' not found, try pulling it first\"; check",
        1,
    ),
    "behind a mark of its encoding": (
        Reply(b'\xef\xbb\xbf{"error": {"message": "who are you"}}', 401),
        'answered 401 (unauthorized) and said "who are you"; check the api_key',
        1,
    ),
    "a rate, called a usage limit": (
        refuses(429, "Usage limit of 20 requests per minute reached. Retry in 0.01s"),
        "answered 429 (too many requests) 3 times",
        3,
    ),
    "a usage limit": (
        refuses(429, "Usage limit reached."),
        'answered 429 (too many requests) and said "Usage limit reached."; add credit',
        1,
    ),
    "a key, called a bad request": (
        refuses(400, "API key not valid. Please pass a valid API key."),
        'answered 400 (bad request) and said "API key not valid. Please pass a valid API key."; '
        "check the api_key",
        1,
    ),
    "a model, called a bad request": (
        refuses(400, "toy is not a valid model ID"),
        'answered 400 (bad request) and said "toy is not a valid model ID"; check the base_url',
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
    # All may be mended but a picture that the model cannot take.
    assert isinstance(failure, Failure) and failure.temporary == ("blind" not in name)
    assert failure.reason.startswith(f"The endpoint mine {words}"), failure.reason
    assert len(server.asked) == requests


@pytest.mark.parametrize(
    "body",
    [
        b'[{"error": {"code": 429, "message": "quota", "details": [{"retryDelay": "0.4s"}]}}]',
        b'{"error": {"code": 429, "message": "Rate limit reached. Please try again in 400ms."}}',
        b'{"error": {"code": 429, "message": "slow down", "retry_after": 0.4}}',
        b'{"error": {"code": 429, "message": "Too many requests. Please wait 0.4 seconds."}}',
        b'{"error": {"code": 429, "message": "Try again after 0.4 s."}}',
    ],
)
@pytest.mark.parametrize("status", [200, 429])
def test_the_delay_that_a_body_asks_for_is_kept(body: bytes, status: int) -> None:
    import time

    began = time.monotonic()
    with VlmServer([Reply(body, status), says("yes")]) as server:
        assert endpoint_of(server, replace(FAST, longest_pause=5)).chat([CUP]) == ["yes"]
    assert time.monotonic() - began >= 0.4


def test_a_wait_is_said_once_for_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SILENT_SECONDS", 0.0)
    replies = [*[refuses(503, "Loading model")] * 2, *[refuses(429, KEY)] * 2, says("yes")]
    watch = Watcher()
    with VlmServer(replies) as server:
        assert endpoint_of(server).chat([CUP, CUP], watch) == ["yes", "yes"]
    assert watch.said == [
        "The endpoint mine loads its model and is waited for, at most 120 seconds.",
        "The endpoint mine answered 429 (too many requests); it is asked again in 0 seconds.",
    ]


@pytest.mark.parametrize("finish", ["MAX_TOKENS", "model_length"])
def test_an_answer_that_was_cut_is_known_by_every_hosts_word(finish: str) -> None:
    with VlmServer([completion({"content": ""}, finish), says("yes")]) as server:
        assert endpoint_of(server).chat([CUP]) == ["yes"]
    assert room(server.asked[1]) > 600


def test_a_limit_of_days_is_not_taken_for_seconds() -> None:
    assert error_of_status(429, '{"error": "Try again in 2 days."}').wait == 2 * 86400


@pytest.mark.parametrize(
    "words",
    [
        "messages[0].content must be a string",
        "Image input is not enabled for this model",
        "image_url is only supported by certain models",
        "vision is not supported by this model",
    ],
)
def test_a_model_of_texts_is_known_by_the_words_of_its_refusal(words: str) -> None:
    with VlmServer([refuses(400, words)]) as server:
        (failure,) = endpoint_of(server).choose([CUP], ("yes", "no"))
    assert isinstance(failure, Failure) and "choose a model that sees pictures" in failure.reason
    assert len(server.asked) == 1


def test_a_question_without_pictures_is_a_plain_text() -> None:
    with VlmServer([says("yes")]) as server:
        endpoint_of(server).chat([Question("Is it?", system="Be brief.")])
    assert [m["content"] for m in server.asked[0].body["messages"]] == ["Be brief.", "Is it?"]


@pytest.mark.parametrize("words", ["Loading model", "The model is warming up", "Model not ready"])
def test_a_server_that_loads_its_model_is_waited_for_and_loses_no_try(words: str) -> None:
    loading = refuses(503, words)
    with VlmServer([*[loading] * 9, says("yes")]) as server:
        assert endpoint_of(server).chat([CUP]) == ["yes"]
    with VlmServer([loading]) as server:
        (failure,) = endpoint_of(server, replace(FAST, loading_seconds=0.2)).chat([CUP])
    assert isinstance(failure, Failure) and words in failure.reason


@pytest.mark.parametrize("name", ["max_output_tokens", "max_tokens"])
def test_a_server_with_a_least_number_of_tokens_gets_it(name: str) -> None:
    words = f"Invalid '{name}': integer below minimum value. Expected a value >= 16, but got 4."

    def script(asked: Asked) -> Reply:
        return refuses(400, words) if room(asked) < 16 else says(wanted(asked))

    with VlmServer(script) as server:
        endpoint = endpoint_of(server)
        for _ in range(2):
            (odds,) = endpoint.choose([CUP], ("yes", "no"))
            assert isinstance(odds, tuple) and odds[0] >= 0.8
        assert not endpoint.thinks
    assert [room(asked) for asked in server.asked].count(4) == 1


def test_one_bad_moment_does_not_end_log_probabilities() -> None:
    def script(asked: Asked) -> Reply:
        if asked.number == 0:
            return refuses(400, "upstream hiccup")
        return five_logprobs(asked)

    with VlmServer(script) as server:
        endpoint = endpoint_of(server)
        endpoint.choose([CUP], ("yes", "no"))
        (odds,) = endpoint.choose([CUP], ("yes", "no"))
    assert odds == pytest.approx((0.9, 0.1))


def test_a_role_that_is_refused_in_other_words_is_not_sent() -> None:
    def script(asked: Asked) -> Reply:
        if asked.body["messages"][0]["role"] == "system":
            return refuses(400, "Unsupported value: 'messages[0].role' does not support 'system'.")
        return says(wanted(asked))

    with VlmServer(script) as server:
        assert ask(endpoint_of(server), [CUP], Seen) == [RED]
