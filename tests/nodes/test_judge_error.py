"""Judge Error in a real ComfyUI: measures, shows and keeps, and a later search reports it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comfy_graphs import Graph, actor_nodes, link, ours, watched
from comfy_server import ComfyServer
from core.test_judge_command import bad_at_numbers
from plain_colours import is_of_the_check
from vlm_server import MODEL, VlmServer, says

from reflectionflow_core.judge_errors import KINDS, JudgeErrors, KindErrors
from reflectionflow_core.vlm.judge_check import profile_key
from reflectionflow_core.vlm.kept_errors import error_key, keep_errors
from reflectionflow_core.vlm.profiles import Profile

UNUSED = "Several verifiers judge, so the known errors of one are not used."
LABEL = '{"file": "1", "statement": "a red circle", "true": true}'


def known(server: ComfyServer, name: str, url: str) -> str:
    file = server.base / "user" / "__reflectionflow" / "profiles.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(before | {name: {"base_url": url, "api_key": "", "model": MODEL}}))
    return name


def kept(server: ComfyServer) -> dict[str, Any]:
    file: Path = server.base / "user" / "__reflectionflow" / "judge_errors.json"
    return json.loads(file.read_text()) if file.exists() else {}


def measured(**given: Any) -> Graph:
    return {
        "error": ours("JudgeError", **{"questions": 40, "labels": "", "seed": 0, **given}),
        "picture": ours(
            "DraftSampler", flux=link("flux"), prompt="a red circle", count=1, seed=2, batch_size=1
        ),
        "flux": actor_nodes()["flux"],
    }


def of_profile(name: str, **given: Any) -> Graph:
    graph = measured(vlm=link("vlm"), **given)
    return {**graph, "vlm": ours("VlmEndpoint", profile=name, refresh=0)}


def test_a_vision_model_that_cannot_count_is_measured_shown_and_kept(comfy: ComfyServer) -> None:
    with VlmServer(bad_at_numbers) as server:
        run = comfy.succeed(of_profile(known(comfy, "counting", server.url)))
        assert not server.errors
    text = run.text("error")
    assert "number    3 of 3: 100%" in text and "This judge misses 3 of 3 wrong counts" in text
    (key,) = [key for key in kept(comfy) if key.startswith("endpoint:counting")]
    assert kept(comfy)[key]["kinds"][1]["missed"] == 3


def test_labelled_images_are_asked_about(comfy: ComfyServer) -> None:
    with VlmServer(bad_at_numbers) as server:
        name = known(comfy, "labelled", server.url)
        run = comfy.succeed(of_profile(name, labels=LABEL, images=link("picture")))
    assert "labels (1)" in run.text("error")


def test_the_rules_for_the_miniatures_pictures_are_not_measured_on_others(
    comfy: ComfyServer,
) -> None:
    graph = measured(verifier=link("verifier")) | {"verifier": actor_nodes()["verifier"]}
    run = comfy.run(graph)
    assert run.status == "error"
    assert "'exact' reads the miniature's own pictures only" in run.error
    assert "exact" not in kept(comfy)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "There is no judge to measure"),
        ({"vlm": link("vlm"), "verifier": link("verifier")}, "There are two judges"),
        ({"vlm": link("vlm"), "labels": LABEL}, "Labels and images belong together"),
        (
            {"vlm": link("vlm"), "labels": "{", "images": link("picture")},
            "labels has lines that cannot be used: line 1: it is not JSON",
        ),
        ({"vlm": link("vlm")}, "The judge is blind"),
    ],
)
def test_what_cannot_be_measured_is_said(
    comfy: ComfyServer, given: dict[str, Any], words: str
) -> None:
    with VlmServer(lambda a: says("red" if is_of_the_check(a.text) else "yes")) as server:
        name = known(comfy, "blindly", server.url)
        graph = measured(**given) | {"vlm": ours("VlmEndpoint", profile=name, refresh=0)}
        run = comfy.run(graph | {"verifier": actor_nodes()["verifier"]})
    assert run.status == "error" and words in run.error


def passing(comfy: ComfyServer, server: VlmServer, name: str) -> Graph:
    """A search that ends at the first pass, with a judge that passes all and is known to err."""
    known(comfy, name, server.url)
    kinds = tuple(KindErrors(kind, 100, 30, 100, 10) for kind in KINDS)
    key = error_key(profile_key(Profile(name, server.url, "", MODEL)), "yes-no")
    folder = comfy.base / "user" / "__reflectionflow"
    assert keep_errors(folder, key, JudgeErrors(f"endpoint:{name}, yes-no", kinds, 0.0)) == ""
    search = {"strategy": "adaptive", "stop": "when passed", "depth": 3, "width": 1, "drafts": 1}
    return watched(name, verifier="yes-no", writer="template", evolver="rules", **search)


def without_model(graph: Graph, *names: str) -> Graph:
    loaders = {"writer": actor_nodes()["writer"], "evolver": actor_nodes()["evolver"]}
    return {**graph, **{name: loaders[name] for name in names}}


def test_a_loop_asks_a_judge_that_is_known_to_err_again_before_it_believes_a_pass(
    comfy: ComfyServer,
) -> None:
    with VlmServer(lambda _: says("yes", tops={"yes": -0.01, "no": -5.0})) as server:
        graph = without_model(passing(comfy, server, "erring"), "writer", "evolver")
        run = comfy.succeed(graph)
        assert not server.errors
    report = json.loads(run.text("report"))
    first, *others = report["candidates"]
    assert not others and report["judge_notice"] == ""
    assert len(first["trust"]["looks"]) == len(server.asked) == 2
    assert first["trust"]["posterior"] > 0.95


def test_a_loop_says_that_the_known_errors_of_one_of_several_verifiers_are_not_used(
    comfy: ComfyServer,
) -> None:
    with VlmServer(lambda _: says("yes", tops={"yes": -0.01, "no": -5.0})) as server:
        graph = without_model(passing(comfy, server, "gated"), "writer", "evolver")
        graph["judge"] = graph["verifier"]
        graph["exact"] = actor_nodes()["verifier"]
        wires = {"verifier_1": link("judge"), "gate": link("exact")}
        weights = {f"weight_{n}": 1.0 for n in range(1, 5)}
        graph["verifier"] = ours("VerifierEnsemble", **wires, **weights)
        run = comfy.succeed(graph)
    report = json.loads(run.text("report"))
    assert report["judge_notice"] == UNUSED
    assert all("trust" not in candidate for candidate in report["candidates"])
    assert f"ReflectionFlow: {UNUSED}" in comfy.log
