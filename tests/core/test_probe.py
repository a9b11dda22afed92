"""What is found out of a judge before a search: blind, dead, thinking, and what it can do."""

from __future__ import annotations

import json
import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from plain_colours import MARK, colours_of
from scripted_vlm import ScriptedVlm
from vlm_asking import FAST, KEY, Watcher
from vlm_server import MODEL, Asked, Reply, VlmServer, refuses, says

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.check_modes import mode_of
from reflectionflow_core.vlm.consent import PictureConsent
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.judge_check import (
    FILE,
    JudgeChecker,
    findings_line,
    judge_text,
    objection,
    probe,
    profile_key,
)
from reflectionflow_core.vlm.probe import JudgeFindings, findings_from, tells_two
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import _untrusted

Script = Callable[[Asked], Reply]
BAD_PICTURE = "image input is not supported - hint: provide the mmproj"


def sees(asked: Asked) -> str:
    """A right answer to each of the questions."""
    if not asked.pictures:
        return "yes"
    if "response_format" in asked.body:
        return json.dumps({"colour": colours_of(asked.pictures)})
    return colours_of(asked.pictures)


def oracle(asked: Asked, **how: Any) -> Reply:
    """A server that can do everything."""
    text = sees(asked)
    tops = None
    if asked.body.get("logprobs"):
        count = asked.body["top_logprobs"]
        tops = {text: math.log(0.9)} | {f"other{i}": -9.0 - i for i in range(count - 1)}
    return says(*[text] * asked.body.get("n", 1), tops=tops, **how)


def found_with(script: Script, key: str = KEY) -> JudgeFindings:
    limits = replace(FAST, loading_seconds=0.01)
    with VlmServer(script) as server:
        found = probe(Endpoint(Profile("mine", server.url, key, MODEL), limits))
    assert not server.errors
    assert found.calls == len(server.asked)
    return found


def changed(script: Script, change: Callable[[dict[str, Any]], None]) -> Script:
    """The script with other JSON in its answers."""

    def altered(asked: Asked) -> Reply:
        reply = script(asked)
        body = json.loads(reply.body)
        change(body)
        return replace(reply, body=json.dumps(body).encode())

    return altered


def test_everything_a_server_can_do_is_found_in_five_requests() -> None:
    found = found_with(oracle)
    assert found.data() == {
        "sees": True,
        "sure": pytest.approx(1.0),
        "thinks": False,
        "log_probabilities": 20,
        "schema": "json_schema",
        "answers": 2,
        "pictures": 4,
        "seconds": pytest.approx(found.seconds),
        "calls": 5,
    }
    assert found.seconds and 0 < found.seconds < FAST.seconds
    assert not objection(found)


def refusing(name: str, words: str, status: int = 400) -> Script:
    def script(asked: Asked) -> Reply:
        return refuses(status, words) if name in asked.body else oracle(asked)

    return script


def fewer_logprobs(asked: Asked) -> Reply:
    many = asked.body.get("top_logprobs", 0) > 5
    return refuses(400, "top_logprobs must be at most 5") if many else oracle(asked)


def reasoning_model(asked: Asked) -> Reply:
    """Refuses all that OpenAI's reasoning models do, and thinks until it has enough tokens."""
    if "max_tokens" in asked.body:
        return refuses(400, "'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
    if asked.body.get("temperature") == 0:
        return refuses(400, "'temperature' does not support 0")
    if asked.body.get("logprobs"):
        return refuses(403, "You are not allowed to request logprobs from this model")
    if asked.body["max_completion_tokens"] < 4096:
        return says("", finish="length", tokens=(10, 2048))
    return oracle(asked, tokens=(10, 900))


def short_context(asked: Asked) -> Reply:
    if (tokens := asked.body["max_tokens"]) > 2200:
        return refuses(400, f"max_tokens is too large: {tokens}. At most 2200 are possible.")
    return oracle(asked)


def out_of_tokens(asked: Asked) -> Reply:
    if asked.body["max_tokens"] < 4000:
        return refuses(400, "max_tokens or model output limit was reached. Try higher max_tokens.")
    return oracle(asked)


def one_answer(asked: Asked) -> Reply:
    return says(sees(asked))


def one_picture(asked: Asked) -> Reply:
    many = len(asked.pictures) > 1
    return refuses(400, "At most 1 image(s) may be provided in one request") if many else one(asked)


def one(asked: Asked) -> Reply:
    return oracle(asked)


def two_pictures(asked: Asked) -> Reply:
    return oracle(asked) if len(asked.pictures) <= 2 else refuses(400, "too many images")


def first_picture_only(asked: Asked) -> Reply:
    return says(sees(asked).partition(",")[0]) if len(asked.pictures) > 1 else oracle(asked)


def ignores_the_schema(asked: Asked) -> Reply:
    return says(colours_of(asked.pictures) or "yes")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (refusing("logprobs", "unknown name logprobs"), {"log_probabilities": 0, "sure": None}),
        (fewer_logprobs, {"log_probabilities": 5, "sure": 1.0}),
        (refusing("seed", "unknown name seed"), {"log_probabilities": 20}),
        (refusing("response_format", "response_format is unknown"), {"schema": ""}),
        (ignores_the_schema, {"schema": "", "answers": 1}),
        (reasoning_model, {"thinks": True, "log_probabilities": 0, "pictures": 4}),
        (short_context, {"log_probabilities": 20, "answers": 2}),
        (out_of_tokens, {"log_probabilities": 20, "answers": 2}),
        (one_answer, {"answers": 1, "log_probabilities": 0}),
        (refusing("n", "'n' must be 1"), {"answers": 1}),
        (one_picture, {"pictures": 1}),
        (two_pictures, {"pictures": 2}),
        (first_picture_only, {"pictures": 1}),
    ],
)
def test_what_a_server_lacks_is_found_and_it_still_sees(
    script: Script, expected: Mapping[str, Any]
) -> None:
    found = found_with(script)
    assert found.sees and not objection(found)
    for name, value in expected.items():
        assert getattr(found, name) == (
            pytest.approx(value, abs=1e-3) if name == "sure" else value
        ), name
    assert found.calls <= 16


def json_object_only(asked: Asked) -> Reply:
    form = asked.body.get("response_format", {}).get("type")
    return (
        refuses(400, "response_format must be json_object")
        if form == "json_schema"
        else oracle(asked)
    )


def test_a_server_with_json_objects_only_is_known_by_it() -> None:
    assert found_with(json_object_only).schema == "json_object"


def in_message(**fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for choice in body["choices"]:
            choice["message"].update(fields)

    return change


def in_usage(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["usage"].update(fields)


def draft(body: dict[str, Any]) -> None:
    for choice in body["choices"]:
        message = choice["message"]
        message["content"] = f"<think>Green? Yellow?</think>\n\n{message['content']}"


def listed(body: dict[str, Any]) -> None:
    for choice in body["choices"]:
        text = choice["message"]["content"]
        choice["message"]["content"] = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "green, yellow"}]},
            {"type": "text", "text": text},
        ]


@pytest.mark.parametrize(
    "change",
    [
        draft,
        listed,
        in_message(reasoning_content="It might be green or yellow."),
        in_message(reasoning="It might be green."),
        in_usage(completion_tokens_details={"reasoning_tokens": 80}),
        in_usage(completion_tokens=300),
    ],
)
def test_a_model_that_thinks_is_known_by_it_and_its_thoughts_are_no_answers(
    change: Callable[[dict[str, Any]], None],
) -> None:
    found = found_with(changed(oracle, change))
    assert found.thinks and found.sees and found.pictures == 4


@pytest.mark.parametrize(
    ("usage", "price"),
    [
        ({"cost": 0.0003}, 0.0003),
        ({"estimated_cost": 2e-5}, 2e-5),
        ({"cost": {"total_cost": 0.01}}, 0.01),
        ({}, None),
        ({"cost": "free"}, None),
    ],
)
def test_the_price_is_what_the_server_says(usage: dict[str, Any], price: float | None) -> None:
    assert found_with(changed(oracle, in_usage(**usage))).price == (price and pytest.approx(price))


def always_red(asked: Asked) -> Reply:
    return says("Red." if asked.pictures else "yes", tops={"Red": -0.01, "Blue": -5.0})


def denies(asked: Asked) -> Reply:
    return says("I cannot see any picture. Is it red, blue, green or yellow?")


def swapped(asked: Asked) -> Reply:
    return says({"red": "blue", "blue": "red"}.get(colours_of(asked.pictures), "green"))


@pytest.mark.parametrize("script", [always_red, denies, swapped])
def test_a_server_that_drops_pictures_is_blind(script: Script) -> None:
    found = found_with(script)
    assert found.sees is False and "is blind" in objection(found)
    assert found.sure is None or found.sure < 0.6


@pytest.mark.parametrize(
    "sentence",
    [
        "Of red, blue, green and yellow, the picture is filled with **{}**.",
        "{} (neither red, green nor yellow)",
        "It is {} and not green.",
        "The colour of the picture: {}",
    ],
)
def test_a_server_that_sees_and_writes_sentences_is_not_blind(sentence: str) -> None:
    found = found_with(lambda asked: says(sentence.format(sees(asked))))
    assert found.sees and not objection(found)


@pytest.mark.parametrize(
    ("of_red", "of_blue", "sees"),
    [
        ("红色", "藍色。", True),
        ("Red, I think", "A dark blue", True),
        ("Red or blue?", "Red or blue?", False),
        ("Red", "", False),
    ],
)
def test_two_colours_are_told_apart_by_what_is_said_of_each(
    of_red: str, of_blue: str, sees: bool
) -> None:
    assert tells_two(of_red, of_blue) == sees


def text_only(status: int, words: str = "message 0 is invalid") -> Script:
    return lambda asked: refuses(status, words) if asked.pictures else says("yes")


def always(reply: Reply) -> Script:
    return lambda _: reply


def declines(_: Asked) -> Reply:
    message = {"content": None, "refusal": "I judge nobody."}
    return in_body({"choices": [{"message": message, "finish_reason": "stop"}]})


def inside(error: dict[str, Any]) -> Reply:
    return Reply(json.dumps({"choices": [{"error": error, "message": {"content": ""}}]}).encode())


def in_body(body: object) -> Reply:
    return Reply(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("script", "words", "most"),
    [
        (text_only(400, BAD_PICTURE), f'400 .*"{BAD_PICTURE}"; choose a model that sees', 1),
        (text_only(500, BAD_PICTURE), f'500 .*"{BAD_PICTURE}"; choose a model that sees', 1),
        (text_only(400), 'toy-vlm answers texts and refuses pictures. .*"message 0 is inv', 3),
        (text_only(500), "answers texts and refuses pictures. The endpoint mine answered 500", 4),
        (text_only(404), "answers texts and refuses pictures", 2),
        (always(refuses(401, "Incorrect API key provided")), '401 .*"Incorrect API key', 1),
        (always(refuses(403, "Your country is not supported")), '403 .*"Your country', 1),
        (always(refuses(404, "model x not found")), '404 .*"model x not found"', 2),
        (
            always(refuses(402, "Insufficient credits")),
            '402 .*"Insufficient credits"; add credit',
            1,
        ),
        # While it loads it is waited for by the clock, and no try is lost.
        (always(refuses(503, "Loading model")), '503 .* 3 times and said "Loading model"', 20),
        (
            always(in_body({"error": {"message": "no credit", "code": 402}})),
            '"no credit"; add credit',
            1,
        ),
        (always(in_body([{"error": {"message": "slow down"}}])), 'said "slow down"', 3),
        (always(inside({"message": "overloaded", "code": 502})), 'said "overloaded"', 3),
        (always(Reply(b"<html>")), "answered with something that is not JSON", 5),
        (always(Reply(b"<html>")), "not JSON; check the base_url of its profile", 5),
        (declines, 'declined to answer and said "I judge nobody."', 6),
        (always(says(None)), "gave an empty answer", 6),
        (always(says("", finish="length")), 'limit of tokens .* more "max_tokens"', 8),
    ],
)
def test_a_judge_that_gives_no_verdict_is_named_with_its_servers_words(
    script: Script, words: str, most: int
) -> None:
    found = found_with(script)
    assert re.search(words, objection(found)), found
    assert found.calls <= most
    assert "\n" not in found.problem


def test_a_certificate_that_is_not_trusted_is_said_before_anything_is_sent() -> None:
    refused = ssl.SSLCertVerificationError()
    refused.verify_message = "self-signed certificate"
    outer = OSError("connect")
    outer.__cause__ = refused
    error = _untrusted(outer)
    assert error is not None and not error.retry and not error.sent
    assert error.what == "has a certificate that is not trusted (self-signed certificate)"
    assert _untrusted(OSError("refused")) is None


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_quotes_parts_of_the_key_does_not_show_them(status: int) -> None:
    said = f"Incorrect API key: {KEY[:12]}****{KEY[-4:]} or {KEY[3:9]}. Look for it in settings."
    found = found_with(lambda _: refuses(status, said))
    pieces = [KEY[i : i + 4] for i in range(len(KEY) - 3)]
    assert not [piece for piece in pieces if piece in found.problem]
    assert "Look for it in settings." in found.problem


def test_cancelling_ends_the_check() -> None:
    with VlmServer([says("red", wait=30)]) as server, pytest.raises(InterruptedError):
        probe(Endpoint(Profile("mine", server.url, KEY, MODEL), FAST), Watcher(cancel_after=0.1))


# Models that are no servers


def local(of_red: list[float], of_blue: list[float], said: str = "red, blue") -> ScriptedVlm:
    def choose(question: Question) -> list[float]:
        pixel = question.images[0].getpixel((0, 0))
        assert isinstance(pixel, tuple)
        return of_red if pixel[0] > pixel[2] else of_blue

    def chat(question: Question) -> str:
        return '{"colour": "green"}' if question.schema else said

    return ScriptedVlm(chat, choose)


@pytest.mark.parametrize(
    ("of_red", "of_blue", "expected"),
    [
        ([0.9, 0.1, 0, 0], [0.2, 0.8, 0, 0], True),
        ([0.9, 0.1, 0, 0], [0.6, 0.4, 0, 0], True),  # likes red, and looks
        ([0.6, 0.4, 0, 0], [0.6, 0.4, 0, 0], False),
        ([0.6, 0.4, 0, 0], [0.55, 0.45, 0, 0], False),
        ([0.25] * 4, [0.25] * 4, False),
        ([0.1, 0.9, 0, 0], [0.9, 0.1, 0, 0], False),
    ],
)
def test_a_model_on_this_machine_sees_if_its_probabilities_follow_the_picture(
    of_red: list[float], of_blue: list[float], expected: bool
) -> None:
    found = probe(local(of_red, of_blue))
    assert found.sees is expected
    assert found.sure == pytest.approx((of_red[0] + of_blue[1]) / 2)
    assert (found.schema, found.pictures, found.calls) == ("json_schema", 2, 4)


def test_a_model_on_this_machine_that_fails_is_named_with_its_reason() -> None:
    found = probe(ScriptedVlm(on_choose=lambda _: Failure("Memory ran out on a question.")))
    assert objection(found) == "Memory ran out on a question."


# What is kept, and who insists


def test_findings_are_kept_by_profile_and_model_and_a_kept_judge_is_asked_nothing(
    tmp_path: Path,
) -> None:
    check = JudgeChecker(tmp_path / "new")
    with VlmServer(oracle) as server:
        first = Endpoint(Profile("mine", server.url, KEY, MODEL), FAST)
        found, notices = check(first, profile_key(first.profile))
        asked = len(server.asked)
        assert found and not notices and asked == 5
        assert check(first, profile_key(first.profile)) == (found, [])
        assert len(server.asked) == asked
        for profile in (
            Profile("mine", server.url, KEY, "another"),
            Profile("other", server.url, KEY, MODEL),
            Profile("mine", server.url.replace("127.0.0.1", "localhost"), KEY, MODEL),
        ):
            check(Endpoint(profile, FAST), profile_key(profile))
            assert len(server.asked) > asked
            asked = len(server.asked)
    kept = (tmp_path / "new" / FILE).read_text()
    assert KEY not in kept and "127.0.0.1" not in kept


def test_a_blind_judge_ends_a_search_is_asked_again_and_gives_way_to_who_insists(
    tmp_path: Path,
) -> None:
    blind, seeing = local([0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]), local([1, 0, 0, 0], [0, 1, 0, 0])
    check = JudgeChecker(tmp_path)
    with pytest.raises(InputError, match=r"is blind: .* give --judge-check warn"):
        check(blind, "toy")
    found, notices = replace(check, mode="warn")(blind, "toy")
    assert found and found.sees is False and "is blind" in notices[0]
    assert replace(check, mode="off")(blind, "toy") == (None, [])
    assert not (tmp_path / FILE).exists()
    found, notices = check(seeing, "toy")
    assert found and found.sees and not notices
    assert json.loads((tmp_path / FILE).read_text())["toy"]["sees"] is True


@pytest.mark.parametrize(
    "kept",
    [
        "{",
        "[]",
        '{"toy": 3}',
        '{"toy": {"sees": "yes"}}',
        '{"toy": {"sees": true, "unknown": 1}}',
        '{"toy": {"sees": true, "answers": true}}',
        '{"toy": {"sees": false}}',
        "\x00",
    ],
)
def test_a_damaged_file_of_findings_only_costs_asking_again(tmp_path: Path, kept: str) -> None:
    (tmp_path / FILE).write_text(kept)
    vlm = local([1, 0, 0, 0], [0, 1, 0, 0])
    found, notices = JudgeChecker(tmp_path)(vlm, "toy")
    assert found and found.sees and vlm.asked
    assert json.loads((tmp_path / FILE).read_text())["toy"]["sees"] is True
    whole = kept.startswith('{"')  # a table that is none is put aside
    assert notices == [] if whole else f"{FILE}.damaged" in notices[0]


def test_where_nothing_can_be_kept_the_search_goes_on_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    found, notices = JudgeChecker(tmp_path / "file")(local([1, 0, 0, 0], [0, 1, 0, 0]), "toy")
    assert found and found.sees
    assert len(notices) == 1 and f"{FILE} cannot be written (" in notices[0]


def test_the_mode_is_the_option_or_the_environment_or_strict() -> None:
    assert mode_of("warn", {"REFLECTIONFLOW_JUDGE_CHECK": "off"}) == "warn"
    assert mode_of(None, {"REFLECTIONFLOW_JUDGE_CHECK": "off"}) == "off"
    assert mode_of(None, {}) == "strict"
    with pytest.raises(InputError, match="strict, warn, off"):
        JudgeChecker(Path(), mode_of(None, {"REFLECTIONFLOW_JUDGE_CHECK": "never"}))


def test_findings_survive_json_and_are_said_in_one_line() -> None:
    found = JudgeFindings(
        sees=True, sure=0.984, thinks=False, log_probabilities=5, schema="", answers=2,
        pictures=4, seconds=1.25, price=0.00031, calls=5,
    )  # fmt: skip
    assert findings_from(json.loads(json.dumps(found.data()))) == found
    text = judge_text(found.data())
    assert text.startswith("sees yes (98% sure of two plain colours), thinks no")
    assert "JSON schema not kept to" in text
    assert "log-probabilities of 5 tokens" in findings_line(found)
    assert "pictures a question 4 or more" in findings_line(found)
    assert judge_text({}) == "" and judge_text({"strange": 1}) == ""


def test_no_question_of_the_check_is_longer_than_it_must_be() -> None:
    with VlmServer(oracle) as server:
        probe(Endpoint(Profile("mine", server.url, KEY, MODEL), FAST))
    assert sum(MARK in asked.text for asked in server.asked) == 4
    assert max(len(url) for asked in server.asked for url in asked.pictures) < 4000


# Consent


def consent(folder: Path, **environment: str) -> PictureConsent:
    return PictureConsent(folder, environment=environment)


def profile_at(url: str) -> Profile:
    return Profile("mine", url, KEY, MODEL)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "http://127.0.0.1/v1",
        "http://[::1]:8000/v1",
        "http://192.168.1.7/v1",
        "http://10.0.0.2:11434/v1",
        "http://172.20.0.3/v1",
        "http://[fd00::1]/v1",
        "http://[fe80::1]/v1",
        "http://gpu-box:8000/v1",
        "http://nas.local/v1",
        "http://host.docker.internal:11434/v1",
    ],
)
def test_this_machine_and_its_network_need_no_consent(tmp_path: Path, url: str) -> None:
    assert consent(tmp_path).missing(profile_at(url)) == ""


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com/v1", "api.openai.com"),
        ("https://API.OpenAI.com.:443/v1", "api.openai.com"),
        ("http://8.8.8.8/v1", "8.8.8.8"),
        ("http://134744072/v1", "134744072"),  # 8.8.8.8 in one number
        ("http://0x08080808/v1", "0x08080808"),
        ("http://172.32.0.1/v1", "172.32.0.1"),
        ("http://[::ffff:8.8.8.8]/v1", "::ffff:8.8.8.8"),
        ("http://[2001:4860:4860::8888]/v1", "2001:4860:4860::8888"),
        ("http://localhost.example.org/v1", "localhost.example.org"),
        ("http://10.0.0.2.example.org/v1", "10.0.0.2.example.org"),
    ],
)
def test_every_other_host_is_named_once_and_remembered(tmp_path: Path, url: str, host: str) -> None:
    profile = profile_at(url)
    assert consent(tmp_path).missing(profile) == host
    with pytest.raises(InputError, match="Pictures would be sent to") as refused:
        consent(tmp_path).require(profile)
    assert host in str(refused.value)
    assert KEY not in str(refused.value)
    for allowing in (host, "ANY", f"else.org, {host}"):
        assert consent(tmp_path, REFLECTIONFLOW_SEND_PICTURES=allowing).missing(profile) == ""
    assert consent(tmp_path, REFLECTIONFLOW_SEND_PICTURES="else.org").missing(profile) == host
    assert consent(tmp_path).give(profile) == ""
    consent(tmp_path).require(profile)
    assert consent(tmp_path).missing(profile_at("https://elsewhere.org/v1")) == "elsewhere.org"


def test_no_picture_leaves_an_endpoint_without_consent_and_texts_do(tmp_path: Path) -> None:
    with VlmServer([says("yes")]) as server:
        # What resolves to this machine and does not look so.
        url = server.url.replace("127.0.0.1", "0x7f000001")
        endpoint = Endpoint(Profile("mine", url, KEY, MODEL), FAST, consent(tmp_path))
        picture = Question("what?", (Image.new("RGB", (8, 8)),))
        for ask in (
            lambda: endpoint.chat([Question("text"), picture]),
            lambda: endpoint.choose([picture], ["yes", "no"]),
            lambda: endpoint.likelihoods([picture], ["yes"]),
            lambda: probe(endpoint),
        ):
            with pytest.raises(InputError, match="0x7f000001"):
                ask()
        assert not server.asked
        assert endpoint.chat([Question("text")]) == ["yes"]
        consent(tmp_path).give(endpoint.profile)
        assert endpoint.chat([picture]) == ["yes"]
