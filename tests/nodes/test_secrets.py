"""No key leaves the machine: not in a picture, not in the history, not in a message, not in a log.

The shared server has a key in its environment and another in its profiles (see conftest.py), and
what all tests before this one made with it is looked through as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_graphs import (
    Graph,
    drafts_graph,
    link,
    loop_graph,
    node,
    rounds_by_hand,
    trail_of,
    watched,
)
from comfy_server import ComfyServer, Listener
from vlm_server import Asked, Reply, VlmServer, echoed, says

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


def gossip(asked: Asked) -> Reply:
    """A server that tells everyone the key, in its errors and in what it has its model say."""
    if not asked.pictures:  # whether a rewritten prompt still says the same
        return says("yes", tops={"yes": -0.2, "no": -2.0})
    if "Answer yes or no" in asked.text:
        fails = asked.number % 2
        return echoed(asked, 401) if fails else says("no", tops={"yes": -2.0, "no": -0.2})
    answer = {"edits": [f"add {asked.key}"], "prompt": f"a red circle, {asked.key}"}
    return says(json.dumps(answer))


def gossiped(name: str) -> Graph:
    graph = watched(name, verifier="yes-no", save_run=True)
    saved = node("SaveImage", images=link("loop", 1), filename_prefix="gossip")
    return graph | {"saved": saved} | trail_of(link("loop", 3))


def failing_beside(name: str) -> Graph:
    """Something fails that holds the endpoint: ComfyUI sends its inputs about, in words."""
    failure = node("ProbeFailure", profile=link("vlm"))
    return {"vlm": watched(name)["vlm"], "failure": failure}


@pytest.fixture(scope="module")
def endpoint(comfy: ComfyServer) -> Iterator[VlmServer]:
    """The gossip behind the profile "gossip"."""
    file = comfy.base / "user" / "__reflectionflow" / "profiles.json"
    known = json.loads(file.read_text("utf-8"))
    with VlmServer(gossip) as server:
        given = {"base_url": server.url, "api_key": known["planted"]["api_key"], "model": "toy"}
        file.write_text(json.dumps({**known, "gossip": given}), "utf-8")
        yield server


@pytest.fixture(scope="module")
def heard(comfy: ComfyServer, endpoint: VlmServer) -> Iterator[Listener]:
    """All that a client hears of runs that go well and of runs that fail."""
    graphs = [saved_search(), drafts_graph(), unwritten()]
    graphs += [failing("planted"), failing("x"), failing("nobody")]
    graphs += [gossiped("gossip"), failing_beside("gossip")]
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
    first, second, third = [event["exception_message"] for event in heard.of("execution_error")][
        1:4
    ]
    assert "It did not work with planted" in first
    assert "REFLECTIONFLOW_X_BASE_URL" in second and "no BASE_URL" in second
    assert "no API_KEY and BASE_URL" in third


def test_the_endpoint_was_asked_with_the_key_and_told_it_on(
    comfy: ComfyServer, heard: Listener, endpoint: VlmServer
) -> None:
    assert {asked.key.encode() for asked in endpoint.asked} >= {b"Bearer " + whole_secret(comfy)}
    saved = "".join(f.read_text("utf-8") for f in (comfy.base / "output").rglob("history.jsonl"))
    assert "answered 401" in saved and "a red circle, Bearer ***" in saved


def whole_secret(comfy: ComfyServer) -> bytes:
    file = comfy.base / "user" / "__reflectionflow" / "profiles.json"
    return json.loads(file.read_text("utf-8"))["planted"]["api_key"].encode()


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
    assert len(heard.of("execution_error")) == 5
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
