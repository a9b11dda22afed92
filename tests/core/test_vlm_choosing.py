"""Probabilities of choices from an endpoint: from its first token, or from samples."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from vlm_asking import SCHEMA, WHAT, endpoint_of
from vlm_server import Asked, Reply, Script, VlmServer, refuses, says

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.endpoint import SAMPLES
from reflectionflow_core.vlm.interface import Failure


def chosen(script: Script, choices: tuple[str, ...] = ("Yes", "No")) -> tuple[float, ...] | str:
    with VlmServer(script) as server:
        (found,) = endpoint_of(server).choose([WHAT], choices)
    assert not server.errors
    return found.reason if isinstance(found, Failure) else found


def test_choices_are_weighed_by_the_likelihood_of_the_first_token() -> None:
    with VlmServer([says("Yes", tops={"Yes": -0.5, " no": -1.5, "Well": -2.0})]) as server:
        (found,) = endpoint_of(server).choose([replace(WHAT, schema=SCHEMA)], ["yes", "no"])
    assert found == pytest.approx((1 / (1 + 2.718281828**-1), 1 / (1 + 2.718281828)))
    body = server.asked[0].body
    assert (body["logprobs"], body["top_logprobs"], body["temperature"]) == (True, 20, 0)
    assert "response_format" not in body


def test_none_of_the_choices_is_a_failure() -> None:
    assert chosen([says("Perhaps", tops={"Perhaps": -0.1, "Hm": -3})]) == (
        "The endpoint mine answers with none of the choices."
    )
    assert chosen([says(*["Perhaps"] * SAMPLES)]) == (
        "The endpoint mine answers with none of the choices."
    )


def test_without_probabilities_eight_samples_are_counted_and_smoothed() -> None:
    answers = ["Yes."] * 5 + ["no, not at all", "NO", "perhaps"]

    def script(asked: Asked) -> Reply:
        return says(*answers[: asked.body.get("n", 1)])

    with VlmServer(script) as server:
        endpoint = endpoint_of(server)
        expected = (6 / 9, 3 / 9)
        assert endpoint.choose([WHAT], ["yes", "no"]) == [pytest.approx(expected)]
        assert endpoint.choose([WHAT], ["yes", "no"]) == [pytest.approx(expected)]
    sampled = [(a.body.get("n"), a.body["temperature"]) for a in server.asked]
    assert sampled == [(None, 0), (SAMPLES, 1), (SAMPLES, 1)]  # the first one taught it


def test_a_server_that_gives_one_sample_at_a_time_is_asked_eight_times() -> None:
    def script(asked: Asked) -> Reply:
        if "logprobs" in asked.body:
            return refuses(400, "logprobs is not supported")
        if asked.body.get("n", 1) > 1 and asked.number < 3:
            return refuses(400, "'n' must be 1")
        return says("yes" if asked.body["seed"] % 2 else "no")

    with VlmServer(script) as server:
        assert endpoint_of(server).choose([WHAT], ["yes", "no"]) == [(0.5, 0.5)]
    seeds = [asked.body["seed"] for asked in server.asked[-SAMPLES:]]
    assert seeds == list(range(SAMPLES)) and "n" not in server.asked[-1].body


def test_more_samples_than_asked_for_are_not_counted() -> None:
    assert chosen([says("yes"), says(*["yes"] * 50)]) == (9 / 10, 1 / 10)


def test_failures_while_choosing_stand_in_their_places() -> None:
    reason = chosen([refuses(404, "no such model")])
    assert isinstance(reason, str) and "answered 404" in reason
    assert "gave an empty answer" in str(chosen([says("yes"), says("")]))


@pytest.mark.parametrize("choices", [[], [""], ["a", " "], ["yes", "Yes "]])
def test_choices_that_are_none_are_refused(choices: list[str]) -> None:
    with VlmServer([says("yes")]) as server, pytest.raises(InputError, match="empty or equal"):
        endpoint_of(server).choose([WHAT], choices)
    assert not server.asked


def likely(script: Script, answers: tuple[str, ...] = ("yes",)) -> tuple[float, ...] | str:
    with VlmServer(script) as server:
        (found,) = endpoint_of(server).likelihoods([WHAT], answers)
    assert not server.errors
    return found.reason if isinstance(found, Failure) else found


def test_likelihoods_are_among_all_that_could_be_said() -> None:
    tops = {"Yes": math.log(0.5), " yes": math.log(0.1), "No": math.log(0.3)}
    assert likely([says("Yes", tops=tops)]) == pytest.approx((0.6,))
    assert likely([says("No", tops=tops)], ("maybe",)) == (0.0,)


def test_samples_are_no_likelihoods() -> None:
    told = "The endpoint mine gives no probabilities of tokens."
    assert likely([says("Yes")]) == told

    def without_logprobs(asked: Asked) -> Reply:
        return (
            refuses(400, "logprobs is not supported") if "logprobs" in asked.body else says("Yes")
        )

    assert likely(without_logprobs) == told
