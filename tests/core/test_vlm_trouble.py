"""Servers that misbehave: what is tried again, what is named, and all of it 1,500 times.

`tests/benchmarks/vlm_faults.py` does the last with ten thousand.
"""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from email.utils import formatdate

import pytest
from vlm_asking import FAST, KEY, WHAT, endpoint_of, one
from vlm_server import MODEL, Reply, VlmServer, cut, refuses, says, too_many
from vlm_trial import FAULTS, trial

from reflectionflow_core.vlm.endpoint import NOT_THE_SERVER, Endpoint
from reflectionflow_core.vlm.interface import Failure, Question, Usage
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits

TROUBLE = {
    "429": (too_many(), "answered 429 (too many requests)"),
    "500": (refuses(500), "answered 500 (internal server error)"),
    "529": (refuses(529), "answered 529"),
    "cut": (cut("yes"), "closed the connection"),
    "reset": (Reply(reset=True), "closed the connection"),
    "silent": (says("yes", wait=1), "took longer than 0.3 seconds"),
    "drip": (says("yes", drip=0.05), "took longer than 0.3 seconds"),
}


def limits_for(name: str) -> RequestLimits:
    """Short only where the reply is late: on a starved machine, any other may take as long."""
    return replace(FAST, seconds=0.3) if name in ("silent", "drip") else FAST


@pytest.mark.parametrize("name", TROUBLE)
def test_what_may_pass_is_tried_again(name: str) -> None:
    assert one([TROUBLE[name][0], says("yes")], limits=limits_for(name)) == "yes"


@pytest.mark.parametrize("name", TROUBLE)
def test_tries_have_an_end_and_are_counted_and_named(name: str) -> None:
    reply, words = TROUBLE[name]
    with VlmServer([reply]) as server:
        endpoint = endpoint_of(server, limits_for(name))
        (failure,) = endpoint.chat([WHAT])
    assert isinstance(failure, Failure)
    assert failure.reason.startswith(f"The endpoint mine {words} 3 times")
    assert len(server.asked) == endpoint.usage.calls == 3


def test_only_tries_that_ended_alike_are_counted_together() -> None:
    reason = one([refuses(500), too_many(), refuses(500)])
    assert reason == (
        "The endpoint mine answered 500 (internal server error) 2 times; check its model and "
        "the server's log, or try again later."
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 307])
def test_what_will_not_pass_is_asked_once(status: int) -> None:
    elsewhere = {"Location": "http://127.0.0.1:1/v1"}
    with VlmServer([Reply(b"", status, elsewhere)]) as server:
        (failure,) = endpoint_of(server).chat([WHAT])
    assert isinstance(failure, Failure) and f"answered {status} (" in failure.reason
    assert len(server.asked) == 1


def test_a_server_that_asks_for_patience_gets_it_up_to_a_bound() -> None:
    def seconds_for(retry_after: str, bound: float) -> float:
        began = time.monotonic()
        limits = replace(FAST, longest_pause=bound)
        assert one([too_many(retry_after), says("yes")], limits=limits) == "yes"
        return time.monotonic() - began

    assert seconds_for("0.5", 5) >= 0.5
    assert seconds_for("0.15", 0.1) < 3  # within the pauses of all tries
    assert seconds_for(formatdate(time.time() + 2, usegmt=True), 5) >= 0.9
    assert seconds_for("inf", 0.1) < 3
    assert seconds_for("Mon, 01 Jan 99999 00:00:00 GMT", 0.1) < 3


def test_numbers_of_an_extra_may_be_missing_or_texts() -> None:
    for extra in ({"n": None, "top_logprobs": None}, {"n": "2"}):
        with VlmServer([refuses(400, "n is wrong")]) as server:
            profile = Profile("mine", server.url, KEY, MODEL, extra=extra)
            (failure,) = Endpoint(profile, FAST).chat([WHAT])
        assert isinstance(failure, Failure) and 'said "n is wrong"' in failure.reason


def test_a_pause_that_no_try_reaches_ends_the_tries_and_is_named() -> None:
    with VlmServer([too_many("3600")]) as server:
        (failure,) = endpoint_of(server).chat([WHAT])
    assert isinstance(failure, Failure) and failure.temporary and len(server.asked) == 1
    assert "(too many requests), and asks to wait 3600 seconds and said" in failure.reason


def test_advice_follows_the_trouble() -> None:
    assert one([too_many()]) == (
        'The endpoint mine answered 429 (too many requests) 3 times and said "slow down"; '
        'wait, or give its profile less "concurrency" or "requests_per_minute".'
    )
    assert one([refuses(401, "no")]) == (
        'The endpoint mine answered 401 (unauthorized) and said "no"; '
        "check the api_key of its profile."
    )
    assert one([refuses(404, "model 'x' not found")]) == (
        "The endpoint mine answered 404 (not found) and said \"model 'x' not found\"; "
        "check the base_url (most end in /v1) and the model of its profile."
    )


def test_a_server_that_is_not_there_is_named_and_not_counted() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        endpoint = Endpoint(Profile("mine", url, KEY, MODEL), FAST)
        assert endpoint.chat([WHAT]) == [
            Failure(
                "The endpoint mine could not be reached 3 times; "
                "check that it runs, and its base_url."
            )
        ]
    assert endpoint.usage == Usage()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (says("x" * 2**23), "answered with more than 4538368 bytes; ask another model"),
        (Reply(b" " * 2**16, endless=True), "answered with more than 4538368 bytes"),
        (Reply(b" " * 2**16, 404, endless=True), "answered 404 (not found); check"),
    ],
)
def test_what_is_no_answer_is_named_at_once(reply: Reply, words: str) -> None:
    with VlmServer([reply]) as server:
        (failure,) = endpoint_of(server).chat([WHAT])
    assert isinstance(failure, Failure)
    assert failure.reason.startswith(f"The endpoint mine {words}")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(b"<html>"), f"answered with something that is not JSON; {NOT_THE_SERVER}"),
        (Reply(b'{"a":' * 100_000), f"answered with something that is not JSON; {NOT_THE_SERVER}"),
        (Reply(b"[]"), f"answered with JSON that is not a chat completion; {NOT_THE_SERVER}"),
        (Reply(b'{"message": {"role": "assistant", "content": "hi"}}'), "answered with JSON that"),
        (Reply(b'{"choices": [7]}'), "gave an empty answer"),
        (says(None), "gave an empty answer"),
        (says(" \n"), "gave an empty answer"),
        (says(None, tops={"yes": -0.1}), "gave an empty answer"),
    ],
)
def test_a_body_without_an_answer_is_asked_for_once_more(reply: Reply, words: str) -> None:
    assert one([reply, says("yes")]) == "yes"
    with VlmServer([reply]) as server:
        (failure,) = endpoint_of(server).chat([WHAT])
        assert isinstance(failure, Failure) and failure.temporary == ("answered" in words)
        assert failure.reason.startswith(f"The endpoint mine {words}")
        assert len(server.asked) == 2
        once = Endpoint(Profile("mine", server.url, KEY, MODEL), replace(FAST, tries=1))
        once.chat([WHAT])
    assert len(server.asked) == 3


def test_half_characters_do_not_come_through() -> None:
    assert one([says("a \ud83d b")]) == "a ? b"
    assert one([says("yes")], Question("a \ud83d b", system="\ud83d")) == "yes"


@pytest.mark.slow
def test_many_answers_of_a_server_that_misbehaves_in_every_way() -> None:
    result = trial(1_000)
    assert result.total("crash") == result.total("wrong question") == 0
    assert result.unnamed == [] and result.errors == []
    assert sum(result.outcomes.values()) == 1_000
    assert {fault for fault, _ in result.outcomes} == set(FAULTS)
    # On a starved machine one answer in a hundred may time out in all its tries.
    for fault in ("none", "prose around the JSON", "code fence"):
        assert result.outcomes[fault, "failure"] < 0.01 * result.outcomes[fault, "at once"]
    for fault in ("429", "500", "reset connection", "cut connection", "JSON cut short", "NaN"):
        assert result.outcomes[fault, "after asking again"] > 0
