"""Keys stay out of what is shown, however a server writes them."""

from __future__ import annotations

import json
import random
import time

import pytest
from vlm_asking import KEY, WHAT, endpoint_of
from vlm_server import Asked, Reply, VlmServer, refuses, says

from reflectionflow_core.vlm.answers import parse
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.redaction import HIDDEN, Redaction, could_be_a_key, looks_like_a_key
from reflectionflow_core.writers.vlm import Edits

ESCAPED = "".join(f"\\u{ord(character):04x}" for character in KEY)
DISGUISES = {
    "itself": KEY,
    "escaped": ESCAPED,
    "escaped twice": ESCAPED.replace("\\", "\\\\"),
    "in capitals": KEY.upper(),
    "with spaces": " ".join(KEY),
    "over lines": f"{KEY[:13]}\n{KEY[13:]}",
    "with dashes": "-".join(KEY),
    "its beginning": KEY[:12],
    "its end": KEY[-12:],
    "masked": f"{KEY[:12]}********",
    "in a URL": "".join(f"%{ord(character):02x}" for character in KEY),
    "in HTML": "".join(f"&#{ord(character)};" for character in KEY),
    "in full width": "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in KEY),
    "without its dash": KEY.replace("-", ""),
    "with invisible signs": "\u200b".join(KEY),
}


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


@pytest.mark.parametrize("name", DISGUISES)
def test_no_disguise_hides_a_key(name: str) -> None:
    shown = Redaction([KEY]).of(f"The key is {DISGUISES[name]}, he said.")
    assert shown.startswith(f"The key is {HIDDEN}") and shown.endswith(", he said.")
    pieces = [letters(KEY)[i : i + 8] for i in range(len(letters(KEY)) - 7)]
    assert not [piece for piece in pieces if piece in letters(shown)]


@pytest.mark.parametrize("name", DISGUISES)
def test_no_disguise_carries_a_key_through_a_models_object(name: str) -> None:
    inside = DISGUISES[name]
    quoted = inside if "\\" in inside else json.dumps(inside)[1:-1]
    with VlmServer([says(f'{{"edits": ["paint {quoted} red"]}}')]) as server:
        (text,) = endpoint_of(server).chat([WHAT])
    answer = parse(text, Edits)
    assert not isinstance(answer, Failure)
    assert answer.edits == [f"paint {HIDDEN}{'********' if name == 'masked' else ''} red"]


def test_a_key_split_over_a_list_comes_out_in_no_part() -> None:
    with VlmServer([says(json.dumps({"edits": [KEY[:10], KEY[10:]]}))]) as server:
        (text,) = endpoint_of(server).chat([WHAT])
    assert isinstance(text, str) and "planted" not in text and "abcdef" not in text


@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 500])
@pytest.mark.parametrize("name", DISGUISES)
def test_errors_show_no_part_of_a_key(name: str, status: int) -> None:
    def script(asked: Asked) -> Reply:
        if status == 200:
            error = {"code": 400, "message": f"bad key {DISGUISES[name]}!"}
            return Reply(json.dumps({"error": error}).encode())
        return refuses(status, f"bad key {DISGUISES[name]}!")

    with VlmServer(script) as server:
        (failure,) = endpoint_of(server).chat([WHAT])
    assert isinstance(failure, Failure) and f"bad key {HIDDEN}" in failure.reason
    assert letters(KEY)[:8] not in letters(failure.reason)


@pytest.mark.parametrize(
    ("header", "value", "said", "shown"),
    [
        ("X-Gateway", "gatewayPass-9876543210", "gatewayPass-9876543210", HIDDEN),
        ("Authorization", "Bearer gatewayPass-9876543210", "Pass-9876543210", HIDDEN),
        ("X-API-Key", "gatewayPass-9876543210", "gatewayPass", HIDDEN),
        ("X-Title", "ReflectionFlow", "the reflection of flowers", "the reflection of flowers"),
        ("X-Title", "Requirements checker", '{"requirements": []}', '{"requirements": []}'),
        ("X-Author", "standard", "a standard poodle", "a standard poodle"),
    ],
)
def test_headers_that_may_hold_keys_are_secrets_and_other_words_stay(
    header: str, value: str, said: str, shown: str
) -> None:
    profile = Profile("mine", "http://127.0.0.1/v1", "", "toy", headers={header: value})
    assert Endpoint(profile).redaction.of(f"I see {said}") == f"I see {shown}"
    assert value not in repr(profile)


def test_keys_among_the_fields_of_a_request_are_secrets() -> None:
    extra = {"provider": {"api_key": KEY}, "model_name": "toy", "max_tokens": 5}
    profile = Profile("mine", "http://127.0.0.1/v1", "", "toy", extra=extra)
    assert Endpoint(profile).redaction.of(f"no {KEY} for a toy") == f"no {HIDDEN} for a toy"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (KEY, "a sign that says 0123, planted in the key of F"),
        ("EMPTY", "the room is EMPTY"),
        ("lm-studio", "I use lm studio"),
        ("LM-Studio", "I use lm studio"),
        ("please-change-me-please", "please change the sign"),
        ("", "nothing"),
        ("ollama", "ollama"),
    ],
)
def test_other_words_stay(key: str, text: str) -> None:
    assert Redaction([key]).of(text) == text


def test_long_answers_are_looked_through_in_a_moment() -> None:
    draw = random.Random(0)
    text = "".join(draw.choices("abcdefghij \\%&u0123456789", k=200_000))
    began = time.monotonic()
    Redaction([KEY]).of(text)
    assert time.monotonic() - began < 10


def test_names_that_may_be_keys_are_known() -> None:
    assert looks_like_a_key("gsk_" + "a1" * 12)
    assert could_be_a_key("0f3a9c" * 6) and not could_be_a_key("my-lab-behind-the-gateway")
