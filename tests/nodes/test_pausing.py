"""A person in a search inside ComfyUI: asked after a round, by addresses that take only answers."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from comfy_graphs import loop_graph, watched
from comfy_server import ComfyServer, Listener, Run
from PIL import Image
from vlm_server import VlmServer, says

ME = "steersman"
Answer = Mapping[str, Any]


def asking(seed: int = 70, **changes: Any) -> dict[str, Any]:
    given = {"depth": 1, "width": 1, "drafts": 2, "steps": 2, "seed": seed}
    return loop_graph(**{**given, "ask_me": True, "ask_seconds": 120, **changes})


@pytest.fixture(autouse=True)
def nothing_waits(comfy: ComfyServer) -> Iterator[None]:
    """A test that fails in a pause would else leave ComfyUI waiting, and the next ones with it."""
    yield
    comfy.interrupt()


def sent(server: ComfyServer, path: str, body: Any, raw: bytes | None = None) -> tuple[int, Any]:
    """Status and answer of a POST that may be refused."""
    data = json.dumps(body).encode() if raw is None else raw
    request = urllib.request.Request(server.url + path, data, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        text = refused.read()
        return refused.code, json.loads(text) if text.startswith(b"{") else text.decode()


def address(pause: Mapping[str, Any]) -> str:
    return f"/reflectionflow/pauses/{pause['id']}"


def answered(server: ComfyServer, listener: Listener, *answers: Answer) -> list[dict[str, Any]]:
    """The next pauses, each with its answer given."""
    pauses = []
    for answer in answers:
        pauses.append(listener.until("reflectionflow.pause"))
        status, said = sent(server, address(pauses[-1]), answer)
        assert status == 200, said
    return pauses


def report_of(run: Run) -> dict[str, Any]:
    return json.loads(run.text("report"))


def test_a_loop_asks_after_every_round_and_does_what_is_said(comfy: ComfyServer) -> None:
    graph = asking(prompt="a red circle and a blue square")
    with comfy.listening(ME) as listener:
        prompt_id = comfy.queue(graph, ME)
        drafts = listener.until("reflectionflow.pause")
        assert [p["number"] for p in drafts["pictures"]] == [0, 1]
        assert all(isinstance(p["score"], float) for p in drafts["pictures"])
        picture = Image.open(BytesIO(comfy.fetch(f"{address(drafts)}/1")))
        assert picture.size == (drafts["pictures"][1]["width"], drafts["pictures"][1]["height"])
        words = "make <b>the circle</b> green"
        sent(comfy, address(drafts), {"picked": 1, "reflections": {"1": words}})
        (last,) = answered(comfy, listener, {})
        assert last["ends"]
        listener.until_over(prompt_id)
    report = report_of(comfy.wait(prompt_id))
    assert [c["parent"] for c in report["candidates"]] == [None, None, 1]
    assert report["candidates"][2]["reflection"] == words
    assert report["feedback"][0]["picked"] == 1
    with comfy.listening(ME) as listener:  # what was said is kept under every cache
        again = comfy.queue({**graph, "loop": deeper(graph["loop"], 2)}, ME)
        pauses = answered(comfy, listener, {})
        listener.until_over(again)
    assert [pause["round"] for pause in pauses] == [2]
    assert report_of(comfy.wait(again))["feedback"][0] == report["feedback"][0]


def deeper(node: Mapping[str, Any], depth: int) -> dict[str, Any]:
    return {**node, "inputs": {**node["inputs"], "depth": depth}}


def test_without_anybody_the_search_is_as_it_was(comfy: ComfyServer) -> None:
    """No client, no browser: at once. A client that is not there: after its time."""
    plain = asking(71)
    plain["loop"] = {**plain["loop"], "inputs": {**plain["loop"]["inputs"], "ask_me": False}}
    usual = comfy.succeed(plain).pixels("images")
    comfy.forget()
    began = time.monotonic()
    assert comfy.succeed(asking(71, ask_seconds=1), client_id="nobody").pixels("images") == usual
    assert time.monotonic() - began < 60
    comfy.forget()
    with comfy.listening(ME) as listener:
        prompt_id = comfy.queue(asking(71, ask_seconds=2), ME)
        pause = listener.until("reflectionflow.pause")
        sent(comfy, address(pause), {"seen": True})
        assert listener.until("reflectionflow.pause_over") == {"id": pause["id"]}
        listener.until_over(prompt_id)
    assert comfy.wait(prompt_id).pixels("images") == usual


def test_hostile_requests_are_refused_and_the_pause_stays_open(comfy: ComfyServer) -> None:
    mask = BytesIO()
    Image.new("L", (2000, 4)).save(mask, "PNG")
    large = base64.b64encode(mask.getvalue()).decode()
    with comfy.listening(ME) as listener:
        prompt_id = comfy.queue(asking(72), ME)
        pause = listener.until("reflectionflow.pause")
        here = address(pause)
        sent(comfy, here, {"seen": True})
        for body, status, words in (
            ({"picked": 9}, 400, "none has number 9"),
            ({"picked": "../0"}, 400, "whole number"),
            ({"picked": 0, "vetoed": [0]}, 400, "winner and be vetoed"),
            ({"folder": "/etc"}, 400, "not from this panel"),
            ({"after": 1}, 400, "not from this panel"),
            ({"reflections": {"0": "x" * 2001}, "picked": 0}, 400, "2,001 characters"),
            ({"reflections": {"0": "\0"}, "picked": 0}, 400, "NUL"),
            ({"reflections": {"0": "sk-proj-" + "a1B2" * 12}, "picked": 0}, 400, "API key"),
            ({"reflections": {"0": "x"}, "picked": 1}, 400, "Picture 1 is not corrected"),
            ({"places": {"0": {"boxes": [[0, 0, 2, 2]]}}, "picked": 0}, 400, "fractions"),
            ({"places": {"0": {"boxes": [[0, 0, 1, 1]] * 17}}, "picked": 0}, 400, "17 boxes"),
            ({"places": {"0": {"mask": "bm8="}}, "picked": 0}, 400, "A mask cannot be used"),
            ({"places": {"0": {"mask": large}}, "picked": 0}, 400, "1024 pixels"),
            ([], 400, "not a JSON object"),
        ):
            refused = sent(comfy, here, body)
            assert refused[0] == status and words in refused[1]["error"], refused
        assert sent(comfy, here, None, raw=b"[" * 100_000)[0] == 400
        assert sent(comfy, here, None, raw=b"{" + b" " * 10_000_000)[0] == 413
        for other in (prompt_id, "x", "..%2f..%2fetc%2fpasswd", "a" * 5000):
            assert sent(comfy, f"/reflectionflow/pauses/{other}", {"picked": 0})[0] in (404, 400)
        for number in ("9", "-1", "..%2f0", "0x", "1" * 40):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                comfy.fetch(f"{here}/{number}")
        answered_last = sent(comfy, here, {})
        assert answered_last == (200, {"taken": True})
        assert sent(comfy, here, {"picked": 0})[0] in (400, 404)  # it is answered, or over already
        answered(comfy, listener, {})
        listener.until_over(prompt_id)


def test_cancel_ends_a_pause_and_run_asks_again_and_stop_keeps_the_best(
    comfy: ComfyServer,
) -> None:
    graph = asking(73)
    with comfy.listening(ME) as listener:
        first = comfy.queue(graph, ME)
        pause = listener.until("reflectionflow.pause")
        comfy.interrupt()
        listener.until_over(first)
        assert sent(comfy, address(pause), {})[0] == 404
        second = comfy.queue(graph, ME)
        (pause,) = answered(comfy, listener, {"stop": True})
        listener.until_over(second)
        stopped = comfy.wait(second)
        assert len(report_of(stopped)["candidates"]) == 2 and not report_of(stopped)["feedback"]
        third = comfy.queue(graph, ME)
        answered(comfy, listener, {"vetoed": [0]}, {"picked": 2})
        listener.until_over(third)
    report = report_of(comfy.wait(third))
    assert (len(report["candidates"]), report["best"]) == (3, 2)


def test_memory_is_freed_during_a_pause_and_a_reload_brings_it_back(comfy: ComfyServer) -> None:
    with comfy.listening(ME) as listener:
        prompt_id = comfy.queue(asking(74), ME)
        pause = listener.until("reflectionflow.pause")
        sent(comfy, address(pause), {"seen": True})
        assert comfy.state()["models"]
        comfy.post("/free", {"unload_models": True})
        until = time.monotonic() + 30
        while comfy.state()["models"]:
            assert time.monotonic() < until
        assert sent(comfy, "/reflectionflow/pauses", {"client": ME}) == (200, {"open": 1})
        assert listener.until("reflectionflow.pause")["id"] == pause["id"]
        sent(comfy, address(pause), {})
        answered(comfy, listener, {})
        listener.until_over(prompt_id)


@pytest.fixture(scope="module")
def shared_comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A ComfyUI that others can reach."""
    server = ComfyServer(tmp_path_factory.mktemp("shared"), flags=("--listen", "0.0.0.0"))
    try:
        yield server.start()
    finally:
        server.stop()


def test_where_others_listen_only_whoever_queued_is_asked(shared_comfy: ComfyServer) -> None:
    with shared_comfy.listening(ME) as listener, shared_comfy.listening("other") as other:
        prompt_id = shared_comfy.queue(asking(76), ME)
        pause = listener.until("reflectionflow.pause")
        assert sent(shared_comfy, "/reflectionflow/pauses", {"client": "other"})[1] == {"open": 0}
        assert sent(shared_comfy, address(pause), {"client": "other"})[0] == 404
        assert sent(shared_comfy, address(pause), {})[0] == 404
        assert sent(shared_comfy, address(pause), {"client": ME})[0] == 200
        last = listener.until("reflectionflow.pause")
        sent(shared_comfy, address(last), {"client": ME})
        listener.until_over(prompt_id)
        told = other.until("reflectionflow.waiting")
        assert told == {"seconds": 120}
        other.until("reflectionflow.pause_over")
        assert not other.of("reflectionflow.pause")


def test_a_kill_during_a_pause_brings_it_back_and_the_search_ends_alike(
    comfy: ComfyServer, shared_comfy: ComfyServer
) -> None:
    graph = asking(75, save_run=True)
    with comfy.listening(ME) as listener:
        first = comfy.queue(graph, ME)
        answered(comfy, listener, {"picked": 1}, {"vetoed": [2]})
        listener.until_over(first)
    with shared_comfy.listening(ME) as listener:
        shared_comfy.queue(graph, ME)
        answered(shared_comfy, listener, {"picked": 1, "client": ME})
        listener.until("reflectionflow.pause")
    shared_comfy.kill()
    shared_comfy.start()
    with shared_comfy.listening(ME) as listener:
        prompt_id = shared_comfy.queue(graph, ME)
        (last,) = answered(shared_comfy, listener, {"vetoed": [2], "client": ME})
        assert last["round"] == 1
        listener.until_over(prompt_id)
    folder = Path("output", report_of(comfy.wait(first))["folder"])
    for name in ("history.jsonl", "feedback.jsonl"):
        kept = [(server.base / folder / name).read_bytes() for server in (comfy, shared_comfy)]
        assert kept[0] == kept[1], name


def test_reflections_that_were_proposed_before_cancel_are_paid_once(comfy: ComfyServer) -> None:
    with VlmServer(lambda _: says("Make the circle green.")) as server:
        profiles = comfy.base / "user" / "__reflectionflow" / "profiles.json"
        profiles.parent.mkdir(parents=True, exist_ok=True)
        mine = {"base_url": server.url, "api_key": "", "model": "m"}
        profiles.write_text(json.dumps({"proposing": mine}))
        given = {"width": 1, "drafts": 2, "steps": 2, "seed": 75, "ask_me": True}
        graph = watched("proposing", ask_seconds=120, strategy="reflection", **given)
        plain = loop_graph()
        graph |= {name: plain[name] for name in ("verifier", "evolver")}
        asked = 0
        for _ in range(2):
            with comfy.listening(ME) as listener:
                prompt_id = comfy.queue(graph, ME)
                listener.until("reflectionflow.pause")
                asked = len(server.asked)
                comfy.interrupt()
                listener.until_over(prompt_id)
        with comfy.listening(ME) as listener:
            prompt_id = comfy.queue(graph, ME)
            answered(comfy, listener, {}, {})
            listener.until_over(prompt_id)
    assert asked == len(server.asked) > 0
    assert len(report_of(comfy.wait(prompt_id))["candidates"]) == 3
