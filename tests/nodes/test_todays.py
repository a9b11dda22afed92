"""The templates on models of today, to their end, with small random models for their files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_server import ROOT, ComfyServer

SAYS = "yes"
NAMES = ("krea2", "klein", "qwen_image", "z_image")
EDITS = {"klein": "edits as FLUX.2", "qwen_image": "image to image, denoise 0.75"}
KNOWN_SINCE = (0, 33)  # the version of ComfyUI that is tested


def version_of(server: ComfyServer) -> tuple[int, ...]:
    text = server.get("/system_stats")["system"]["comfyui_version"]
    return tuple(int(part) for part in text.split(".")[:2])


def api(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text("utf-8"))


def of_kind(name: str, kind: str) -> list[str]:
    return [number for number, node in api(name).items() if node["class_type"] == kind]


def in_small(name: str, says: str = SAYS) -> dict[str, Any]:
    """The template with small models, on small pictures, and one round of corrections."""
    graph = api(name)
    (vae,) = of_kind(name, "VAELoader")
    first, *_ = models = of_kind(name, "UNETLoader")
    for node in models:
        file = graph[node]["inputs"]["unet_name"]
        graph[node] = {"class_type": "ProbeModel", "inputs": {"file": file}}
    for node in of_kind(name, "CLIPLoader"):
        given = graph[node]["inputs"]
        inputs = {"file": given["clip_name"], "type": given["type"], "says": says}
        graph[node] = {"class_type": "ProbeEncoder", "inputs": inputs}
    for node in graph.values():
        for word, given in node["inputs"].items():
            if given == [vae, 0]:
                node["inputs"][word] = [first, 1]
    del graph[vae]
    for node in of_kind(name, "ReflectionFlow_PainterFromModel"):
        graph[node]["inputs"] |= {"width": 64, "height": 64, "steps": 2}
    for node in of_kind(name, "ReflectionFlow_EditCorrector"):
        graph[node]["inputs"]["steps"] = 2
    for node in of_kind(name, "ReflectionFlow_ReflectionLoop"):
        # A pass ends the templates' own strategy, and this judge passes everything.
        graph[node]["inputs"] |= {"strategy": "reflection", "stop": "never", "depth": 1}
    return graph


@pytest.mark.parametrize("name", NAMES)
def test_it_paints_judges_and_corrects_to_its_end(name: str, comfy: ComfyServer) -> None:
    if version_of(comfy) < KNOWN_SINCE:
        pytest.skip("this ComfyUI does not know the models of this template")
    (painter,) = of_kind(name, "ReflectionFlow_PainterFromModel")
    seen = {"class_type": "PreviewAny", "inputs": {"source": [painter, 1]}}
    run = comfy.succeed(in_small(name) | {"settings": seen})
    (trail,) = of_kind(name, "ReflectionFlow_ReflectionTrail")
    candidates = json.loads(run.outputs[trail]["report"][0])["candidates"]
    assert [c["round"] for c in candidates] == [0, 0, 1, 1]
    assert all(c["passed"] and c["aspects"] for c in candidates)
    corrects = EDITS.get(name, "image to image, denoise 0.75")
    assert run.text("settings").endswith(f"Corrections: {corrects}.")
    assert run.images(trail) and run.images(*of_kind(name, "SaveImage"))


def test_its_own_encoder_generates_what_check_judge_writer_and_evolver_read(
    comfy: ComfyServer,
) -> None:
    """P(yes) comes from its logits; its texts are a word of noise, which ends no search."""
    if version_of(comfy) < KNOWN_SINCE:
        pytest.skip("this ComfyUI does not know the models of this template")
    name = "krea2"
    graph = in_small(name, says="")
    (vlm,) = of_kind(name, "ReflectionFlow_VisionModel")
    (judge,) = of_kind(name, "ReflectionFlow_Judge")
    (critic,) = of_kind(name, "ReflectionFlow_Critic")
    given = {"vlm": [vlm, 0], "insist": True, "refresh": 0}
    graph["check"] = {"class_type": "ReflectionFlow_JudgeCheck", "inputs": given}
    graph["findings"] = {"class_type": "PreviewAny", "inputs": {"source": ["check", 1]}}
    graph[judge]["inputs"] |= {"judge.method": "yes-no", "vlm": ["check", 0]}
    graph[critic]["inputs"]["vlm"] = ["check", 0]
    run = comfy.succeed(graph)
    assert "none of the choices" in run.text("findings")  # it knows yes and no, and no colours
    (trail,) = of_kind(name, "ReflectionFlow_ReflectionTrail")
    report = json.loads(run.outputs[trail]["report"][0])
    odds = [c["aspects"]["yes"] for c in report["candidates"]]
    assert [c["round"] for c in report["candidates"]] == [0, 0, 1, 1]
    assert all(0 < chance < 1 for chance in odds)
    assert len(set(odds)) == len(odds)  # the logits depend on the picture
    # Two corrections: its word is neither a list of edits nor a prompt, so each is asked for twice.
    assert report["cost"]["vlm_calls"] == len(odds) + 2 * 2 + 2 * 2
    assert all(c["reflection"].startswith("fix this: ") for c in report["candidates"][2:])
