"""No key leaves the machine: not in a picture, not in the history, not in a message, not in a log.

The shared server has a key in its environment and another in its profiles (see conftest.py), and
what all tests before this one made with it is looked through as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_graphs import Graph, drafts_graph, link, loop_graph, node, rounds_by_hand, trail_of
from comfy_server import ComfyServer, Listener

SECRET = b"plantedTestSecret"  # how the keys in conftest.py begin


def failing(name: str) -> Graph:
    return {
        "profile": node("ProbeProfile", name=name),
        "failure": node("ProbeFailure", profile=link("profile")),
    }


def saved_search() -> Graph:
    graph = loop_graph(depth=1, save_run=True)
    graph["saved"] = node("SaveImage", images=link("loop", 1), filename_prefix="leak")
    return graph


def unwritten() -> Graph:
    graph = rounds_by_hand(2) | trail_of(link("round1"))
    del graph["round1"]["inputs"]["writer"]
    return graph


@pytest.fixture(scope="module")
def heard(comfy: ComfyServer) -> Iterator[Listener]:
    """All that a client hears of runs that go well and of runs that fail."""
    graphs = [saved_search(), drafts_graph(), unwritten()]
    graphs += [failing("planted"), failing("x"), failing("nobody")]
    with comfy.listening("spy") as listener:
        for graph in graphs:
            listener.until_over(comfy.queue(graph, "spy", preview_method="latent2rgb"))
        yield listener


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_keys_are_where_only_the_pack_reads_them(comfy: ComfyServer, heard: Listener) -> None:
    """Else the tests below would prove nothing: the profile was found, with its key."""
    profiles = comfy.base / "user" / "__reflectionflow" / "profiles.json"
    assert SECRET in profiles.read_bytes()
    first, second, third = [told["exception_message"] for told in heard.of("execution_error")][1:]
    assert "It did not work with planted" in first
    assert "REFLECTIONFLOW_X_BASE_URL" in second and "no BASE_URL" in second
    assert "no API_KEY and BASE_URL" in third


def test_no_key_is_in_any_file_that_comfyui_made(comfy: ComfyServer, heard: Listener) -> None:
    made = [path for name in ("output", "temp", "input") for path in files_in(comfy.base / name)]
    kinds = {path.suffix for path in made}
    assert {".png", ".json", ".jsonl", ".html"} <= kinds
    assert not [path.name for path in made if SECRET in path.read_bytes()]


def test_no_key_is_in_the_log_or_the_database(comfy: ComfyServer, heard: Listener) -> None:
    assert "It did not work with planted" in comfy.log
    assert SECRET.decode() not in comfy.log
    assert not [path.name for path in comfy.base.glob("comfy.*") if SECRET in path.read_bytes()]


def test_no_key_is_in_the_history_or_in_anything_that_can_be_asked_for(
    comfy: ComfyServer, heard: Listener
) -> None:
    assert "It did not work with planted" in json.dumps(comfy.get("/history"))
    for path in ("/history", "/queue", "/object_info", "/system_stats", "/settings"):
        assert SECRET not in comfy.fetch(path)


def test_no_key_is_in_a_message_to_the_client(heard: Listener) -> None:
    assert len(heard.of("execution_error")) == 4
    assert SECRET.decode() not in json.dumps(heard.messages)
    assert heard.binaries and SECRET not in b"".join(heard.binaries)


@pytest.mark.parametrize(
    "path",
    [
        "/userdata/..%2F__reflectionflow%2Fprofiles.json",
        "/userdata/__reflectionflow%2Fprofiles.json",
        "/view?filename=profiles.json&type=output&subfolder=../user/__reflectionflow",
        "/extensions/rf-pack/../../user/__reflectionflow/profiles.json",
    ],
)
def test_the_file_of_profiles_cannot_be_fetched(comfy: ComfyServer, path: str) -> None:
    try:
        assert SECRET not in comfy.fetch(path)
    except OSError as refused:
        assert "HTTP Error 4" in str(refused)
