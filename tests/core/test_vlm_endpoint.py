"""What an endpoint asks, and how its answers come back: see vlm_server.py."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import random
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import replace

import pytest
from PIL import Image
from vlm_asking import FAST, KEY, SCHEMA, WHAT, Watcher, endpoint_of, numbered, one
from vlm_server import MODEL, Asked, Reply, VlmServer, echoed, refuses, says, too_many

from reflectionflow_core.pictures import to_rgb
from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure, Question, Usage, Vlm
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits


def test_an_endpoint_is_a_vlm() -> None:
    vlm: Vlm = Endpoint(Profile("mine", "http://127.0.0.1:1/v1", KEY, MODEL))
    assert vlm.usage == Usage()


def test_pictures_go_as_png_below_the_system_text_and_above_the_question() -> None:
    pictures = tuple(Image.new(mode, (5, 4), 3) for mode in ("RGB", "L", "RGBA"))
    with VlmServer([says("yes")]) as server:
        question = Question("Which?", pictures, system="Be brief.", max_tokens=7)
        assert endpoint_of(server).chat([question]) == ["yes"]
    (asked,) = server.asked
    roles = [message["role"] for message in asked.body["messages"]]
    assert roles == ["system", "user"] and asked.text == "Be brief.\nWhich?"
    assert [part["type"] for part in asked.parts][1:] == ["image_url"] * 3 + ["text"]
    for sent, picture in zip(asked.pictures, pictures, strict=True):
        assert sent.startswith("data:image/png;base64,")
        shown = Image.open(io.BytesIO(base64.b64decode(sent.partition(",")[2])))
        assert (shown.format, shown.tobytes()) == ("PNG", to_rgb(picture).tobytes())


def test_it_asks_greedily_with_a_seed_and_without_what_the_question_lacks() -> None:
    with VlmServer([says("yes")]) as server:
        endpoint_of(server).chat([WHAT])
    (asked,) = server.asked
    assert asked.key == f"Bearer {KEY}"
    assert {name: value for name, value in asked.body.items() if name != "messages"} == {
        "model": MODEL,
        "max_tokens": 512,
        "temperature": 0,
        "seed": 0,
    }


def test_a_server_without_a_key_gets_none() -> None:
    with VlmServer([says("yes")]) as server:
        assert endpoint_of(server, key="").chat([WHAT]) == ["yes"]
    assert "authorization" not in server.asked[0].headers


def test_what_the_environment_says_of_openai_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "somebody-else")
    headers = "Authorization: Bearer somebody-else\nX-Gateway: somebody-else"
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with VlmServer([says("yes")]) as server:
        assert endpoint_of(server).chat([WHAT]) == ["yes"]
    assert server.asked[0].key == f"Bearer {KEY}"
    assert "somebody-else" not in str(server.asked[0].headers)


def test_a_server_on_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert one([says("yes")]) == "yes"


def test_a_schema_goes_as_a_response_format() -> None:
    with VlmServer([says("{}")]) as server:
        endpoint_of(server).chat([replace(WHAT, schema=SCHEMA)])
    assert server.asked[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_takes_no_response_format_is_asked_without_and_told_in_words(
    status: int,
) -> None:
    def script(asked: Asked) -> Reply:
        return refuses(status, "bad request") if "response_format" in asked.body else says("{}")

    with VlmServer(script) as server:
        endpoint = endpoint_of(server)
        for _ in range(3):
            assert endpoint.chat([replace(WHAT, schema=SCHEMA)]) == ["{}"]
    forms = [asked.body.get("response_format", {}).get("type") for asked in server.asked]
    # The first rejection without a reason may be a bad moment.
    assert forms == [*["json_schema", "json_object", None] * 2, None]
    told = [("JSON schema" in asked.text, '"seen"' in asked.text) for asked in server.asked]
    assert told == [*[(False, False), (True, True), (True, True)] * 2, (True, True)]


def test_a_bad_question_teaches_nothing_about_the_server() -> None:
    def script(asked: Asked) -> Reply:
        return refuses(400, "too large") if "large" in asked.text else says("{}")

    questions = [Question("large", schema=SCHEMA), replace(WHAT, schema=SCHEMA)]
    with VlmServer(script) as server:
        endpoint = endpoint_of(server, replace(FAST, concurrency=1))
        failure, answer = endpoint.chat(questions)
    assert failure == Failure(
        'The endpoint mine answered 400 (bad request) and said "too large"; check its profile.'
    )
    assert answer == "{}"
    assert server.asked[-1].body["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("temperature", "Unsupported value: 'temperature' does not support 0 with this model."),
        ("seed", "unrecognized parameter: seed"),
        ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
    ],
)
def test_what_a_server_names_as_unsupported_is_left_out_from_then_on(
    name: str, message: str
) -> None:
    with VlmServer(lambda a: refuses(400, message) if name in a.body else says("yes")) as server:
        endpoint = endpoint_of(server)
        assert endpoint.chat([WHAT]) == endpoint.chat([WHAT]) == ["yes"]
    assert [name in asked.body for asked in server.asked] == [True, False, False]
    assert server.asked[-1].body.get("max_completion_tokens") == (
        512 if name == "max_tokens" else None
    )


def test_answers_stand_in_their_questions_places_whatever_comes_first() -> None:
    draw = random.Random(3)
    waits = [draw.random() / 10 for _ in range(40)]
    with VlmServer(lambda a: says(a.text, wait=waits[int(a.text.split()[1])])) as server:
        answers = endpoint_of(server, replace(FAST, concurrency=8)).chat(numbered(40))
    assert answers == [question.text for question in numbered(40)]
    assert [asked.text for asked in server.answered] != answers


def test_a_failure_takes_its_own_place_only() -> None:
    def script(asked: Asked) -> Reply:
        return refuses(404) if asked.text.endswith("3") else says(asked.text)

    with VlmServer(script) as server:
        answers = endpoint_of(server).chat(numbered(6))
    assert [isinstance(answer, Failure) for answer in answers] == [i == 3 for i in range(6)]


@pytest.mark.parametrize("most", [1, 4])
def test_as_many_are_asked_at_once_as_allowed_over_connections_that_are_kept(most: int) -> None:
    with VlmServer([says("yes", wait=0.02)]) as server:
        endpoint_of(server, replace(FAST, concurrency=most)).chat(numbered(16))
    assert server.most_at_once == most == server.connections


def test_every_finished_question_is_reported_under_the_askers_phase() -> None:
    watcher = Watcher()
    with VlmServer([says("yes")]) as server:
        endpoint_of(server).chat(numbered(5), watcher, "judge")
    assert watcher.reports == [("judge", done, 5) for done in range(1, 6)]


def test_the_user_is_listened_to_ten_times_a_second_while_a_server_thinks() -> None:
    watcher = Watcher()
    with VlmServer([says("yes", wait=0.5)]) as server:
        endpoint_of(server).chat([WHAT], watcher)
    gaps = [b - a for a, b in zip(watcher.checks, watcher.checks[1:], strict=False)]
    assert len(gaps) >= 5 and sorted(gaps)[len(gaps) // 2] <= 0.1


@pytest.mark.parametrize("reply", [says("late", wait=30), says("late", drip=0.2), too_many("30")])
def test_cancelling_abandons_what_is_asked_and_leaves_no_thread(reply: Reply) -> None:
    watcher = Watcher(cancel_after=0.2)
    limits = RequestLimits(seconds=60)
    with VlmServer([reply]) as server:
        with pytest.raises(InterruptedError, match="cancelled"):
            endpoint_of(server, limits).chat(numbered(9), watcher)
        assert time.monotonic() - watcher.began < 2
        assert "reflectionflow-vlm" not in [thread.name for thread in threading.enumerate()]
    assert len(server.asked) <= 4 and not watcher.reports


def test_nothing_is_sent_after_a_cancel_nor_without_questions() -> None:
    with VlmServer([says("yes")]) as server:
        endpoint = endpoint_of(server)
        assert endpoint.chat([]) == endpoint.choose([], ["a", "b"]) == []
        with pytest.raises(InterruptedError):
            endpoint.chat([WHAT], Watcher(cancel_after=-1))
    assert not server.asked and endpoint.usage == Usage()


def test_it_can_be_asked_from_inside_an_event_loop() -> None:
    async def inside(endpoint: Endpoint) -> list[str | Failure]:
        return endpoint.chat([WHAT])

    with VlmServer([says("yes")]) as server:
        assert asyncio.run(inside(endpoint_of(server))) == ["yes"]


def test_an_error_of_our_own_is_no_failure_of_the_server() -> None:
    class Torn(Image.Image):
        def convert(self, *_: object, **__: object) -> Image.Image:
            raise OSError("the picture is torn")

    with VlmServer([says("yes")]) as server, pytest.raises(OSError, match="torn"):
        endpoint_of(server).chat([Question("what", (Torn(),))])


def test_requests_and_tokens_are_counted_retries_too() -> None:
    replies = [refuses(500), says("yes", tokens=(100, 7)), says("yes", tokens=None)]
    with VlmServer(replies) as server:
        endpoint = endpoint_of(server, replace(FAST, concurrency=1))
        endpoint.chat(numbered(2))
        assert endpoint.usage == Usage(3, 100, 7)


def test_tokens_that_no_server_can_have_spent_are_not_counted() -> None:
    with VlmServer([says("yes", tokens=("many", -3)), says("yes", tokens=(True, 10**30))]) as s:
        endpoint = endpoint_of(s)
        endpoint.chat(numbered(2))
        assert endpoint.usage == Usage(2)


def test_a_profile_without_a_model_is_refused_with_the_places_where_it_may_stand() -> None:
    with pytest.raises(InputError, match="REFLECTIONFLOW_MY_LAB_MODEL") as refused:
        Endpoint(Profile("my-lab", "http://there.invalid/v1", KEY))
    assert "profiles.json" in str(refused.value)


@pytest.mark.parametrize("limits", [{"concurrency": 0}, {"tries": 0}, {"seconds": 0.0}])
def test_limits_that_leave_nothing_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        RequestLimits(**limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_neither_key_nor_address_comes_back_from_a_server_that_repeats_them(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    with VlmServer(lambda asked: echoed(asked, status)) as server:
        endpoint = endpoint_of(server)
        told += endpoint.chat([WHAT])
        told += endpoint.choose([WHAT], ["yes", "no"])
    wheres = f"{server.url} is 127.0.0.1 and the key is {KEY}"
    with VlmServer([refuses(status, wheres)]) as server:
        told += Endpoint(replace(endpoint.profile, base_url=server.url), FAST).chat([WHAT])
    told += [endpoint, endpoint.profile, vars(endpoint)]
    assert all(asked.key == f"Bearer {KEY}" for asked in server.asked)  # it was there to repeat
    assert KEY not in f"{told} {told!r}" and "127.0.0.1" not in f"{told}"
    assert caplog.records and KEY not in caplog.text


def test_a_key_that_a_model_repeats_is_struck_from_its_answer() -> None:
    assert one(lambda asked: says(f"It is {asked.key}")) == "It is Bearer ***"


def test_no_exception_on_the_way_out_holds_the_key() -> None:
    with VlmServer([says("late", wait=30)]) as server, pytest.raises(InterruptedError) as stopped:
        endpoint_of(server).chat([WHAT], Watcher(cancel_after=0.1))
    assert KEY not in "".join(traceback.format_exception(stopped.value))


def test_the_client_is_imported_with_the_first_question_only() -> None:
    program = (
        "import sys; from reflectionflow_core.vlm.endpoint import Endpoint;"
        "from reflectionflow_core.vlm.profiles import Profile;"
        "Endpoint(Profile('mine', 'http://localhost/v1', '', 'm'));"
        "print('openai' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
