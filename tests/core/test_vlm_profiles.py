"""Profiles where no ComfyUI is: the model, servers without a key, the command line's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm import profiles
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.named import build_vlm, price_in_profile
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
    with pytest.raises(InputError, match=r"not a (whole )?number\. Write|more than 0|at least 1"):
        find_profile("mine", written(tmp_path, base_url=HERE, **wrong), {})


def test_a_profile_may_name_no_model(tmp_path: Path) -> None:
    assert find_profile("mine", written(tmp_path, base_url=URL, api_key=KEY), {}).model == ""


def test_a_profile_without_its_name_or_with_almost_this_one_is_named(tmp_path: Path) -> None:
    for given in ("Mine", "MINE", " mine"):
        (tmp_path / "profiles.json").write_text(json.dumps({given: {"base_url": HERE}}))
        with pytest.raises(InputError, match=f"no profile 'mine' in profiles.json, but '{given}'"):
            find_profile("mine", tmp_path, {})
    assert find_profile("other", tmp_path, {"REFLECTIONFLOW_OTHER_BASE_URL": HERE}).base_url == HERE
    for text, said in (
        (json.dumps({"base_url": HERE, "model": "m"}), "holds a profile without its name"),
        (json.dumps({KEY: {"base_url": HERE}}), "The profile mine has no API_KEY and BASE_URL"),
    ):
        (tmp_path / "profiles.json").write_text(text)
        with pytest.raises(InputError, match=said) as refused:
            find_profile("mine", tmp_path, {})
        assert KEY not in str(refused.value)


def test_an_address_of_this_machine_needs_no_key(tmp_path: Path) -> None:
    assert find_profile("mine", written(tmp_path, base_url=HERE, model="m"), {}).api_key == ""
    environment = {"REFLECTIONFLOW_A_BASE_URL": "http://127.0.0.1:8000/v1"}
    assert find_profile("a", tmp_path, environment).api_key == ""


def test_another_address_needs_a_key_unless_the_file_says_that_it_has_none(tmp_path: Path) -> None:
    url = "http://box.lan:8000/v1"
    with pytest.raises(InputError, match="no API_KEY"):
        find_profile("mine", written(tmp_path, base_url=url), {})
    assert find_profile("mine", written(tmp_path, base_url=url, api_key=""), {}).api_key == ""


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "localhost:11434", "example.org/v1"])
def test_an_address_without_its_scheme_is_told_before_a_key_that_is_missing(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(InputError, match="base_url of profile 'mine' is not a valid URL"):
        find_profile("mine", written(tmp_path, base_url=url), {})


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
        "http://0.0.0.0:8000/v1",  # as vLLM prints it
        "http://[::]:8000/v1",
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


@pytest.mark.parametrize("around", ["{}\n", '"{}"', "'{}' ", "\ufeff{}", "Bearer {}"])
def test_what_is_copied_along_with_a_key_is_taken_off(tmp_path: Path, around: str) -> None:
    folder = written(tmp_path, base_url=f'"{URL}"', api_key=around.format(KEY))
    found = find_profile("mine", folder, {"REFLECTIONFLOW_MINE_MODEL": '"m"'})
    assert (found.api_key, found.base_url, found.model) == (KEY, URL, "m")


def test_values_that_are_no_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\"api_key\" of profile 'mine' .* is not a text"):
        find_profile("mine", written(tmp_path, base_url=URL, api_key=5), {})
    with pytest.raises(InputError, match=r'"headers" .* is not a table'):
        find_profile("mine", written(tmp_path, base_url=URL, api_key=KEY, headers={"a": 1}), {})
    with pytest.raises(InputError, match=r'"extra" .* is not a table'):
        find_profile("mine", written(tmp_path, base_url=URL, api_key=KEY, extra=["a"]), {})


def test_every_field_is_read_and_the_numbers_also_from_the_environment(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("-")
    folder = written(
        tmp_path,
        base_url=HERE,
        model="m",
        samples=3,
        max_tokens=2000,
        requests_per_minute=7.5,
        price=0.002,
        ca_file=str(certificates),
        headers={"X-Title": "pictures"},
        extra={"reasoning_effort": "none", "provider": {"only": ["a"]}},
    )
    found = find_profile("mine", folder, {"REFLECTIONFLOW_MINE_MAX_TOKENS": "99"})
    assert (found.samples, found.max_tokens, found.requests_per_minute) == (3, 99, 7.5)
    assert price_in_profile("endpoint:mine", folder) == 0.002
    assert price_in_profile("folder", folder) is None
    assert found.ca_file == str(certificates) and found.headers == {"X-Title": "pictures"}
    assert found.extra["provider"] == {"only": ["a"]}


def test_unknown_fields_are_refused_by_name(tmp_path: Path) -> None:
    folder = written(tmp_path, base_url=HERE, reasoning_effort="none", modell="m")
    with pytest.raises(InputError, match='unknown fields: "reasoning_effort", "modell"') as refused:
        find_profile("mine", folder, {})
    assert '"extra"' in str(refused.value)


def test_a_key_as_the_name_of_a_field_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown fields") as refused:
        find_profile("mine", written(tmp_path, **{"base_url": HERE, KEY: "api_key"}), {})
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": 10**400},
        {"requests_per_minute": -1},
        {"price": -0.1},
        {"requests_per_minute": float("inf")},
        {"seconds": True},
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        find_profile("mine", written(tmp_path, base_url=HERE, **wrong), {})


def test_a_number_is_told_what_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'"samples" .* is not a whole number'):
        find_profile("mine", written(tmp_path, base_url=HERE, samples=2.5), {})
    with pytest.raises(InputError, match="more than 0 and at most 1,000,000,000"):
        find_profile("mine", written(tmp_path, base_url=HERE, seconds=1e12), {})


@pytest.mark.parametrize(
    "headers", [{"X Title": "a"}, {"X-Title": "a\r\nHost: b"}, {"Host": "b"}, {"X-Title": "ü"}]
)
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InputError, match="header of profile 'mine' cannot be sent"):
        Profile("mine", HERE, "", headers=headers)


def test_an_extra_that_would_replace_the_question_is_refused() -> None:
    with pytest.raises(InputError, match='Take "messages" out of it'):
        Profile("mine", HERE, "", extra={"messages": []})


@pytest.mark.parametrize(
    "wrong", [{"extra": {"x": float("nan")}}, {"extra": {"x": ["\ud800"]}}, {"model": "m\ud800"}]
)
def test_what_json_has_not_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="of profile 'mine' cannot be sent"):
        find_profile("mine", written(tmp_path, base_url=HERE, **wrong), {})


@pytest.mark.parametrize("table", ["extra", "headers"])
def test_a_variable_that_has_no_effect_is_refused(tmp_path: Path, table: str) -> None:
    variable = f"REFLECTIONFLOW_MINE_{table.upper()}"
    with pytest.raises(InputError, match=f"{variable} has no effect"):
        find_profile("mine", written(tmp_path, base_url=HERE), {variable: "{}"})


def test_certificates_that_are_not_there_are_named() -> None:
    with pytest.raises(InputError, match="names a ca_file that does not exist"):
        Profile("mine", HERE, "", ca_file="/nowhere/ca.pem")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_a_windows_editor_is_read(tmp_path: Path, encoding: str) -> None:
    text = json.dumps({"mine": {"base_url": HERE, "model": "m"}})
    (tmp_path / "profiles.json").write_text(text, encoding=encoding)
    assert find_profile("mine", tmp_path, {}).model == "m"


@pytest.mark.parametrize("neighbour", [5, ["a"], {"seconds": []}, {"odd": 1}, {"base_url": "::"}])
def test_a_bad_neighbour_does_no_harm(tmp_path: Path, neighbour: object) -> None:
    text = json.dumps({"other": neighbour, "mine": {"base_url": HERE, "model": "m"}})
    (tmp_path / "profiles.json").write_text(text)
    assert find_profile("mine", tmp_path, {}).model == "m"
    with pytest.raises(InputError, match="other"):
        find_profile("other", tmp_path, {})


@pytest.mark.parametrize(
    "end", ["", "/", "/chat/completions", "/chat/completions/", " ", "/responses", "/models/"]
)
def test_a_pasted_full_address_is_the_same_server(end: str) -> None:
    assert Profile("mine", f"{HERE}{end}", "").base_url == HERE


@pytest.mark.parametrize("end", ["?api-version=1", "#top", "/chat/completions?key=abc"])
def test_an_address_with_a_query_is_refused_with_its_profile(end: str) -> None:
    with pytest.raises(InputError, match="base_url of profile 'mine' has a query") as refused:
        Profile("mine", f"{HERE}{end}", "")
    assert end not in str(refused.value)


def test_a_user_in_an_address_is_refused_since_it_would_not_be_sent() -> None:
    with pytest.raises(InputError, match='"headers" an "Authorization"') as refused:
        Profile("mine", HERE.replace("://", "://user:secretpass@"), "")
    assert "secretpass" not in str(refused.value)


@pytest.mark.parametrize("name", ["sk-proj-0123456789abcdefghij", "hf_" + "a1" * 15, "a1b2" * 8])
def test_a_key_pasted_as_a_name_is_not_repeated(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as refused:
        find_profile(name, tmp_path, {})
    assert name not in str(refused.value) and name.upper() not in str(refused.value)
    assert "profile" in str(refused.value)
    written(tmp_path, base_url=HERE)
    with pytest.raises(InputError, match="looks like an API key"):
        build_vlm("sk-proj-0123456789abcdefghij")


def test_neither_key_nor_address_is_printed() -> None:
    shown = f"{Profile('mine', URL, KEY, 'm')!r} {Profile('mine', URL, KEY, 'm')}"
    assert KEY not in shown and URL not in shown


def test_a_key_as_the_model_is_refused_and_not_repeated(tmp_path: Path) -> None:
    key = "sk-proj-0123456789abcdefghij"
    with pytest.raises(InputError, match="looks like an API key") as error:
        find_profile("mine", written(tmp_path, base_url=HERE, model=key), {})
    assert key not in str(error.value)


def test_a_key_in_the_path_of_an_address_is_a_secret() -> None:
    profile = Profile("mine", "https://example.invalid/0a1b2c3d4e5f6a7b8c9d0e1f/openai/v1", KEY)
    assert profile.secrets == (KEY, "0a1b2c3d4e5f6a7b8c9d0e1f")


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
