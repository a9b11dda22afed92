"""Secrets by name: where they are found, and that nothing repeats them."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest
from pack import error, module

profiles = module("shared.profiles")
find_profile, looks_like_a_key = profiles.find_profile, profiles.looks_like_a_key
InputError = error()

KEY, URL = "not-to-be-seen-0123456789", "https://example.invalid/v1"
STORED = {"mine": {"api_key": KEY, "base_url": URL}}


def written(folder: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "profiles.json").write_text(text, encoding="utf-8")
    return folder


def test_a_profile_is_found_in_the_file(tmp_path: Path) -> None:
    found = find_profile("mine", written(tmp_path, STORED), {})
    assert (found.name, found.base_url, found.api_key) == ("mine", URL, KEY)


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    there = "http://there.invalid/v1"
    environment = {"REFLECTIONFLOW_MINE_API_KEY": "other", "REFLECTIONFLOW_MINE_BASE_URL": there}
    found = find_profile("mine", written(tmp_path, STORED), environment)
    assert (found.api_key, found.base_url) == ("other", there)


def test_either_part_may_come_from_either_place(tmp_path: Path) -> None:
    folder = written(tmp_path, {"my-lab": {"base_url": URL}})
    found = find_profile("my-lab", folder, {"REFLECTIONFLOW_MY_LAB_API_KEY": KEY})
    assert (found.api_key, found.base_url) == (KEY, URL)


def test_no_file_is_needed(tmp_path: Path) -> None:
    environment = {"REFLECTIONFLOW_A_API_KEY": KEY, "REFLECTIONFLOW_A_BASE_URL": URL}
    assert find_profile("a", tmp_path, environment).api_key == KEY


@pytest.mark.parametrize(
    ("stored", "missing"),
    [
        ({}, "API_KEY and BASE_URL"),
        ({"mine": {"api_key": KEY}}, "BASE_URL"),
        ({"mine": {"base_url": URL}}, "API_KEY"),
        ({"mine": {"base_url": URL, "api_key": " "}}, "API_KEY"),
    ],
)
def test_what_is_missing_is_named_with_the_places_where_it_may_stand(
    tmp_path: Path, stored: dict, missing: str
) -> None:
    with pytest.raises(InputError) as refused:
        find_profile("mine", written(tmp_path, stored), {})
    said = str(refused.value)
    assert f"The profile mine has no {missing}." in said
    assert "REFLECTIONFLOW_MINE_API_KEY" in said and "profiles.json" in said
    assert KEY not in said


@pytest.mark.parametrize("name", ["", "../mine", "1st", "my profile", "a" * 65, "sk.abc", "mine\n"])
def test_a_name_that_is_none_is_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    match = "not a key" if name else "has no name"
    with pytest.raises(InputError, match=match) as refused:
        find_profile(name, written(tmp_path, STORED), {})
    assert not name or name not in str(refused.value)


@pytest.mark.parametrize(
    "damaged",
    [
        '{"mine": {"api_key": "%s"' % KEY,  # noqa: UP031
        f'["{KEY}"]',
        f'{{"mine": "{KEY}"}}',
        f'"{KEY}"',
        f"{KEY}\x00",
    ],
)
def test_a_damaged_file_is_named_and_never_quoted(tmp_path: Path, damaged: str) -> None:
    with pytest.raises(InputError, match=r"profiles\.json") as refused:
        find_profile("mine", written(tmp_path, damaged), {})
    assert KEY not in "".join(traceback.format_exception(refused.value))


def test_a_file_in_another_encoding_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "profiles.json").write_bytes("{}".encode("utf-32"))
    with pytest.raises(InputError, match="cannot be read"):
        find_profile("mine", tmp_path, {})


def test_nothing_that_is_printed_of_a_profile_holds_its_key(tmp_path: Path) -> None:
    found = find_profile("mine", written(tmp_path, STORED), {})
    assert KEY not in f"{found} {found!r} {[found]} { ({'a': found}) }"


KEYS = [
    "sk-proj-0123456789abcdefghij",
    "sk-ant-api03-0123456789abcdefghij",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "ghp_0123456789abcdefghij0123",
    "github_pat_0123456789abcdefghij0123",
    "xoxb-0123456789-abcdef",
    "AIza" + "Sy0123456789abcdefghij0123456789",
    "r8_0123456789abcdefghij0123",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "Authorization: Bearer abcdef0123456789abcdef",
    "api_key=abcdef0123456789abcdef",
    "API_KEY: abcdef0123456789abcdef",
    'apikey = "abcdef0123456789abcdef"',
]
PROMPTS = [
    "a photo of a red circle and a blue square",
    "a flag bearer in the rain, Bearer of the ring, cinematic",
    "an api key lying on a wooden table, macro photograph",
    "sk-8 skateboard, sketch of a ski-lift, risk-averse task-force",
    "the letters hf_ and gh on a wall; AIza is a name",
    "a poster that says 'sk-ill issue' in bold letters",
    "counterrevolutionaries, antidisestablishmentarianism, 1girl, masterpiece, best quality",
    "<lora:detail-tweaker-xl:0.8>, (wide shot:1.2), embedding:easy-negative-v2",
    "https://example.org/a-very-long-path/with-many-words-and-1234567890123456",
    "ein Bild von Wolfgang, 8k, f/1.4, ISO100, 35mm, #ff00aa",
    "红色的圆和蓝色的正方形",
    "",
]


@pytest.mark.parametrize("text", KEYS)
def test_keys_are_known_by_their_looks_wherever_they_stand(text: str) -> None:
    assert looks_like_a_key(text)
    assert looks_like_a_key(f"a cat, {text}, at night\n")


@pytest.mark.parametrize("text", PROMPTS)
def test_ordinary_prompts_are_none(text: str) -> None:
    assert not looks_like_a_key(text)
