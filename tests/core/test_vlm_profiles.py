"""Profiles where no ComfyUI is: the model, servers without a key, the command line's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm import profiles
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.profiles import (
    Profile,
    command_line_folder,
    find_profile,
    is_loopback,
)

KEY, URL = "not-to-be-seen-0123456789", "https://example.invalid/v1"
HERE = "http://localhost:11434/v1"


def written(folder: Path, **profile: object) -> Path:
    (folder / "profiles.json").write_text(json.dumps({"mine": profile}), encoding="utf-8")
    return folder


def test_a_model_is_found_in_the_file_and_the_environment_comes_before_it(tmp_path: Path) -> None:
    folder = written(tmp_path, base_url=URL, api_key=KEY, model="small")
    assert find_profile("mine", folder, {}).model == "small"
    large = {"REFLECTIONFLOW_MINE_MODEL": "large"}
    assert find_profile("mine", folder, large).model == "large"


def test_a_profile_says_how_long_and_how_many_at_once(tmp_path: Path) -> None:
    folder = written(tmp_path, base_url=HERE, model="m", seconds=300, concurrency=1)
    slow = find_profile("mine", folder, {})
    assert (slow.seconds, slow.concurrency) == (300, 1)
    assert Endpoint(slow).limits.seconds == 300
    assert Endpoint(slow).limits.concurrency == 1
    quick = find_profile("mine", folder, {"REFLECTIONFLOW_MINE_SECONDS": "2.5"})
    assert (quick.seconds, quick.concurrency) == (2.5, 1)
    assert find_profile("mine", written(tmp_path, base_url=HERE), {}).seconds == 120


@pytest.mark.parametrize(
    "wrong", [{"seconds": "soon"}, {"seconds": 0}, {"concurrency": 0}, {"concurrency": "1.5"}]
)
def test_limits_that_are_none_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"not a number\. Write|more than 0 seconds"):
        find_profile("mine", written(tmp_path, base_url=HERE, **wrong), {})


def test_a_profile_may_name_no_model(tmp_path: Path) -> None:
    assert find_profile("mine", written(tmp_path, base_url=URL, api_key=KEY), {}).model == ""


def test_an_address_of_this_machine_needs_no_key(tmp_path: Path) -> None:
    assert find_profile("mine", written(tmp_path, base_url=HERE, model="m"), {}).api_key == ""
    environment = {"REFLECTIONFLOW_A_BASE_URL": "http://127.0.0.1:8000/v1"}
    assert find_profile("a", tmp_path, environment).api_key == ""


def test_another_address_needs_a_key_unless_the_file_says_that_it_has_none(tmp_path: Path) -> None:
    url = "http://box.lan:8000/v1"
    with pytest.raises(InputError, match="no API_KEY"):
        find_profile("mine", written(tmp_path, base_url=url), {})
    assert find_profile("mine", written(tmp_path, base_url=url, api_key=""), {}).api_key == ""


def test_an_empty_variable_is_an_unset_one(tmp_path: Path) -> None:
    folder = written(tmp_path, base_url=URL, api_key=KEY)
    assert find_profile("mine", folder, {"REFLECTIONFLOW_MINE_API_KEY": " "}).api_key == KEY
    with pytest.raises(InputError, match="no API_KEY"):
        find_profile("mine", written(tmp_path, base_url=URL), {"REFLECTIONFLOW_MINE_API_KEY": ""})


@pytest.mark.parametrize(
    "url",
    [
        HERE,
        "http://127.0.0.1/v1",
        "http://127.9.9.9:1/v1",
        "http://[::1]:8080",
        "https://localhost",
    ],
)
def test_loopback_addresses_are_known(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        URL,
        "http://192.168.1.2/v1",
        "http://localhost.example.org",
        "http://127.0.0.1.nip.io/v1",
    ],
)
def test_other_addresses_are_none(url: str) -> None:
    assert not is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "example.org/v1",
        "ftp://example.org",
        "http://",
        "http://a b/v1",
        "http://a..b/v1",
        "http://.a/v1",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match="not a valid URL") as refused:
        Profile("mine", url.replace("example.org", "elsewhere.invalid"), KEY)
    assert "elsewhere" not in str(refused.value)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "tab\t"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(InputError, match="Copy it again") as refused:
        Profile("mine", URL, key)
    assert key not in str(refused.value)


def test_white_space_around_a_key_is_taken_off(tmp_path: Path) -> None:
    folder = written(tmp_path, base_url=URL, api_key=f"{KEY}\n")
    assert find_profile("mine", folder, {}).api_key == KEY


def test_values_that_are_no_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a table of profiles"):
        find_profile("mine", written(tmp_path, base_url=URL, api_key=5), {})


def test_neither_key_nor_address_is_printed() -> None:
    shown = f"{Profile('mine', URL, KEY, 'm')!r} {Profile('mine', URL, KEY, 'm')}"
    assert KEY not in shown and URL not in shown


def test_the_command_lines_folder_is_where_the_platform_keeps_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiles.sys, "platform", "linux")
    home = Path.home() / ".config"
    assert command_line_folder({}) == home / "reflectionflow"
    assert command_line_folder({"XDG_CONFIG_HOME": "/x"}) == Path("/x/reflectionflow")
    assert command_line_folder({"REFLECTIONFLOW_HOME": "/y"}) == Path("/y")
    monkeypatch.setattr(profiles.sys, "platform", "win32")
    assert command_line_folder({"APPDATA": "/z", "XDG_CONFIG_HOME": "/x"}) == Path(
        "/z/reflectionflow"
    )
