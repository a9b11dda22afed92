"""Probabilities of choices from an endpoint: from its first token, or from samples."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
from vlm_asking import SCHEMA, WHAT, endpoint_of
from vlm_server import Asked, Reply, Script, VlmServer, refuses, says

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.interface import Failure
from reflectionflow_core.vlm.likelihoods import AGREEING, MASS
from reflectionflow_core.vlm.profiles import SAMPLES


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


def test_without_probabilities_samples_are_counted_and_smoothed() -> None:
    answers = ["no, not at all", "Yes.", "Yes.", "Yes.", "NO", "yes", "perhaps", "yes"]

    def script(asked: Asked) -> Reply:
        start = asked.body["seed"]
        return says(*answers[start : start + asked.body.get("n", 1)])

    with VlmServer(script) as server:
        endpoint = endpoint_of(server)
        expected = (6 / 9, 3 / 9)
        assert endpoint.choose([WHAT], ["yes", "no"]) == [pytest.approx(expected)]
        assert endpoint.choose([WHAT], ["yes", "no"]) == [pytest.approx(expected)]
    sampled = [(a.body.get("n"), a.body["temperature"]) for a in server.asked]
    rest = SAMPLES - AGREEING
    assert sampled == [(None, 0), *[(AGREEING, 1), (rest, 1)] * 2]  # the first one taught it


def test_sampling_ends_as_soon_as_the_first_samples_agree() -> None:
    with VlmServer(lambda a: says("yes", *["yes"] * (a.body.get("n", 1) - 1))) as server:
        endpoint = endpoint_of(server)
        assert endpoint.choose([WHAT], ["yes", "no"]) == [(0.8, 0.2)]
        assert endpoint.choose([WHAT], ["yes", "no"]) == [(0.8, 0.2)]
    assert len(server.asked) == 3


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
    answers = ["yes", "no", *["yes"] * 50]
    assert chosen([says("yes"), says(*answers)]) == (
        7 / 10,
        3 / 10,
    )  # yes, no, yes; then five yes or no


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
    assert likely([says("Yes", tops=tops)], ("maybe",)) == (0.0,)


def test_samples_are_no_likelihoods() -> None:
    told = "The endpoint mine gives no probabilities of tokens."
    assert likely([says("Yes")]) == told

    def without_logprobs(asked: Asked) -> Reply:
        return (
            refuses(400, "logprobs is not supported") if "logprobs" in asked.body else says("Yes")
        )

    assert likely(without_logprobs) == told


@pytest.mark.parametrize(
    ("tops", "text"),
    [
        ({"<think>": -0.001, "No": -14.0, "Yes": -15.0}, "<think>"),
        ({"A": -0.0001, "yes": math.log(0.0035)}, "A dog"),
        ({"The": -0.02, "Yes": math.log(MASS / 3), "No": math.log(MASS / 3)}, "The"),
    ],
)
def test_noise_at_the_first_token_is_no_probability(tops: dict[str, float], text: str) -> None:
    """What the choices have there is shared by chance; so the samples decide."""
    with VlmServer(lambda a: says(text, tops=tops) if "logprobs" in a.body else says("No")) as s:
        (found,) = endpoint_of(s).choose([WHAT], ("yes", "no"))
    assert found == (0.2, 0.8)


def test_a_choice_is_weighed_where_it_is_said() -> None:
    step = [
        {"token": "**", "top_logprobs": [{"token": "**", "logprob": -0.1}, *_tops(-6, -3)]},
        {"token": "Yes", "top_logprobs": _tops(math.log(0.9), math.log(0.1))},
        {"token": "**", "top_logprobs": []},
    ]
    assert chosen([_completion("**Yes**", step)]) == pytest.approx((0.9, 0.1))
    thought = [{"token": word, "top_logprobs": _tops(-1, -1)} for word in ("<think>", "No", ",")]
    thought += [{"token": "</think>", "top_logprobs": []}, {"token": "\n\n", "top_logprobs": []}]
    said = "<think>No,</think>\n\n**Yes**"
    assert chosen([_completion(said, thought + step)]) == pytest.approx((0.9, 0.1))


def test_a_word_of_another_language_counts_with_its_own_probability() -> None:
    tops = {"是": math.log(0.9), "否": math.log(0.05), "yes": -11.0}
    assert chosen([says("是", tops=tops)]) == pytest.approx((0.9 / 0.95, 0.05 / 0.95), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "steps", "odds"),
    [
        # The rivals of a word's first part say nothing of the word itself.
        ("Nein", [("Ne", -0.1, [("Ne", -0.1), ("Ja", -2.5)]), ("in", -0.1, [])], (0.083, 0.917)),
        # A list of the likeliest tokens that ends before the other choice leaves it a share.
        ("No", [("No", -0.2, [])], (0.181, 0.819)),
        ("Yes", [("Yes", -0.6, [("Yes", -0.6), ("It", -1.2), ("A", -4.6)])], (0.982, 0.018)),
        # Tokens of a thought that stands elsewhere, and of a control token.
        ("No", [("Yes", -0.1, [("No", -2.5)]), (" so", -0.1, []), ("No", -0.1, [("Yes", -2.5)])],
         (0.083, 0.917)),
        ("Yes", [("<s>", 0.0, []), ("Yes", -0.1, [("No", -2.5)])], (0.917, 0.083)),
        # None of the answer's own: samples decide.
        ("No", [("Okay", -0.1, [("Okay", -0.1), ("Yes", -2.5)])], (0.2, 0.8)),
        ("Yes", [("Yes", None, [("No", -1.0)])], (0.8, 0.2)),
    ],
)  # fmt: skip
def test_only_probabilities_of_the_answer_itself_are_weighed(
    text: str, steps: list[tuple[str, float | None, list[tuple[str, float]]]], odds: tuple[float]
) -> None:
    tokens: list[dict[str, object]] = [
        {"token": token, "logprob": own, "top_logprobs": [_top(*top) for top in tops]}
        for token, own, tops in steps
    ]
    assert chosen([_completion(text, tokens)]) == pytest.approx(odds, abs=1e-3)
    if odds in ((0.2, 0.8), (0.8, 0.2)):
        assert "gives no probabilities" in str(likely([_completion(text, tokens)]))


def _top(token: str, logprob: float) -> dict[str, object]:
    return {"token": token, "logprob": logprob}


def _tops(yes: float, no: float) -> list[dict[str, object]]:
    return [{"token": "Yes", "logprob": yes}, {"token": "No", "logprob": no}]


def _completion(text: str, tokens: list[dict[str, object]]) -> Reply:
    choice = {"message": {"content": text}, "logprobs": {"content": tokens}}
    return Reply(json.dumps({"choices": [choice]}).encode())


def thinking_aloud(text: str, cut: bool, logprobs: bool) -> Reply:
    """A completion whose tokens are its words, each sure of itself."""
    words = [word for word in re.split(r"(?=\s)", text) if word]
    steps = [
        {"token": word, "logprob": -0.01, "top_logprobs": [{"token": word, "logprob": -0.01}]}
        for word in words
    ]
    choice = {
        "message": {"role": "assistant", "content": text},
        "finish_reason": "length" if cut else "stop",
        "logprobs": {"content": steps} if logprobs else None,
    }
    return Reply(json.dumps({"choices": [choice]}).encode())


@pytest.mark.parametrize("logprobs", [True, False])
def test_a_cut_thought_without_its_opening_mark_is_asked_for_its_end(logprobs: bool) -> None:
    thought = "Hm. Answer: yes"

    def script(asked: Asked) -> Reply:
        cut = asked.body["max_tokens"] < 100
        text = thought if cut else f"{thought}? It is blue.</think> no"
        return thinking_aloud(text, cut, logprobs)

    yes, no = chosen(script, ("yes", "no"))
    assert isinstance(no, float) and isinstance(yes, float) and no > yes


@pytest.mark.parametrize("logprobs", [True, False])
def test_a_thought_without_its_opening_mark_that_never_ends_is_no_answer(logprobs: bool) -> None:
    with VlmServer(lambda _: thinking_aloud("Hm. Answer: yes", True, logprobs)) as server:
        (found,) = endpoint_of(server).choose([WHAT], ("yes", "no"))
    assert isinstance(found, Failure) and "limit of tokens before it began" in found.reason
    assert len(server.asked) == 2


@pytest.mark.parametrize("logprobs", [True, False])
def test_a_cut_answer_that_begins_with_its_choice_is_read_at_once(logprobs: bool) -> None:
    with VlmServer(lambda _: thinking_aloud("Answer: no, since", True, logprobs)) as server:
        (found,) = endpoint_of(server).choose([WHAT], ("yes", "no"))
    assert isinstance(found, tuple) and found[1] > found[0]
    assert all(asked.body["max_tokens"] < 100 for asked in server.asked)
