"""Judge Check, the check before a search, and consent before pictures leave: in a real ComfyUI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_graphs import Graph, link, node, watched
from comfy_server import ComfyServer
from plain_colours import is_of_the_check, seen
from vlm_server import MODEL, Asked, Reply, VlmServer, refuses, says

HOST = "pictures.example.org"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A ComfyUI that checks judges as it does for everybody."""
    from comfy_server import demand_comfyui

    demand_comfyui()
    base = tmp_path_factory.mktemp("strict")
    server = ComfyServer(base, environment={"REFLECTIONFLOW_JUDGE_CHECK": ""})
    try:
        yield server.start()
    finally:
        server.stop()


def store(server: ComfyServer, name: str) -> Path:
    return server.base / "user" / "__reflectionflow" / name


def known(server: ComfyServer, name: str, url: str) -> str:
    file = store(server, "profiles.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(file.read_text()) if file.exists() else {}
    mine = {"base_url": url, "api_key": "k-0123456789", "model": MODEL}
    file.write_text(json.dumps(before | {name: mine}))
    return name


def judge(asked: Asked) -> Reply:
    if is_of_the_check(asked.text):
        return says(seen(asked.text, asked.pictures, "response_format" in asked.body))
    return says("yes", tops={"yes": -0.1, "no": -2.4})


def blind(asked: Asked) -> Reply:
    return says("red" if is_of_the_check(asked.text) else "yes", tops={"yes": -0.1, "no": -2.4})


def search(profile: str, insist: bool | None = None) -> Graph:
    """A search of drafts; with `insist` behind a Judge Check."""
    graph: dict[str, Any] = dict(watched(profile, verifier="yes-no", depth=0, drafts=1, width=1))
    if insist is not None:
        graph["server"] = graph["vlm"]
        check = node("ReflectionFlow_JudgeCheck", vlm=link("server"), insist=insist, refresh=0)
        graph["vlm"] = check
    return graph


def checks(server: VlmServer) -> int:
    return sum(is_of_the_check(asked.text) for asked in server.asked)


def test_a_search_checks_its_judge_once_and_reports_what_it_found(strict: ComfyServer) -> None:
    with VlmServer(judge) as server:
        run = strict.succeed(search(known(strict, "seeing", server.url)))
        assert json.loads(run.text("report"))["judge"]["sees"] is True
        assert (checks(server), len(server.asked)) == (5, 6)
        graph = search("seeing")
        graph["loop"]["inputs"]["seed"] = 99
        strict.succeed(graph)
        assert checks(server) == 5 and len(server.asked) == 7
    kept = store(strict, "judges.json").read_text()
    assert "endpoint:seeing" in kept and "k-0123456789" not in kept


@pytest.mark.parametrize(
    ("name", "script", "words"),
    [
        ("blind", blind, "The judge is blind"),
        ("unpaid", lambda _: refuses(402, "no credit left"), 'said "no credit left"'),
        ("unknown", lambda _: refuses(404, "no such model"), 'said "no such model"'),
    ],
)
def test_a_judge_that_cannot_judge_ends_a_search_before_the_first_picture(
    strict: ComfyServer, name: str, script: Callable[[Asked], Reply], words: str
) -> None:
    with VlmServer(script) as server:
        run = strict.run(search(known(strict, name, server.url)))
        assert run.status == "error" and words in run.error
        assert "wire Judge Check" in run.error
        assert len(server.asked) == checks(server)
        failed = strict.run(search(name, insist=False))
        assert words in failed.error and "switch insist on" in failed.error


def test_who_insists_searches_with_a_blind_judge(strict: ComfyServer) -> None:
    with VlmServer(blind) as server:
        run = strict.succeed(search(known(strict, "insisted", server.url), insist=True))
    assert "no, it is blind" in run.text("vlm")
    report = json.loads(run.text("report"))
    assert report["judge"]["sees"] is False and len(report["candidates"]) == 1
    assert "ReflectionFlow: The judge is blind" in strict.log


def test_judge_check_shows_what_a_model_can_do(strict: ComfyServer) -> None:
    with VlmServer(judge) as server:
        graph = search(known(strict, "shown", server.url), insist=False)
        run = strict.succeed({name: graph[name] for name in ("server", "vlm")})
    text = run.text("vlm")
    for fact in ("endpoint:shown", "sees                yes", "pictures a question 4 or more"):
        assert fact in text


def test_no_picture_leaves_for_a_new_host_before_the_user_agrees(strict: ComfyServer) -> None:
    # By a name of this machine that does not look like one, so that nothing leaves in the test.
    with VlmServer(judge) as server:
        url = server.url.replace("127.0.0.1", "0x7f000001")
        graph = search(known(strict, "away", url))
        run = strict.run(graph)
        assert "Pictures would be sent to 0x7f000001" in run.error
        assert "Switch send_pictures on" in run.error
        assert not server.asked and not store(strict, "consent.json").exists()
        graph["vlm"]["inputs"]["send_pictures"] = True
        strict.succeed(graph)
        assert server.asked
        graph["vlm"]["inputs"] |= {"send_pictures": False, "refresh": 7}
        strict.succeed(graph)
    assert list(json.loads(store(strict, "consent.json").read_text())) == ["0x7f000001"]


def test_a_model_that_thinks_first_is_asked_for_a_word_before_its_text(strict: ComfyServer) -> None:
    def graph(profile: str) -> Graph:
        vlm = node(
            "ReflectionFlow_VlmEndpoint", profile=known(strict, profile, server.url), refresh=0
        )
        think = node("ReflectionFlow_ThinkFirst", prompt="two green bowls", vlm=link("vlm"))
        return {"vlm": vlm, "think": think, "shown": node("PreviewAny", source=link("think"))}

    with VlmServer([says("yes"), says('{"prompt": "two green bowls on a table"}')]) as server:
        strict.succeed(graph("dreaming"))
        assert "the word yes alone" in server.asked[0].text and not server.asked[0].pictures
    with VlmServer([refuses(401, "who are you")]) as server:
        run = strict.run(graph("unpaid"))
        assert run.status == "error" and "who are you" in run.error
        assert len(server.asked) == 1
