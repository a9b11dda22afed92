"""Graphs of the first templates, kept as people saved them: they must load and run for ever.

golden/ holds them in the API's format, and is never rewritten.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comfy_graphs import OURS
from comfy_server import ComfyServer

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(file.stem for file in GOLDEN.glob("*.json"))
RUNNABLE = [name for name in NAMES if name == "first_look" or name.endswith("_miniature")]
FILES = {"model", "base", "lora", "detector"}  # combos of what somebody has downloaded
SHOWING = ("SaveImage", "PreviewImage", OURS + "ReflectionTrail")


def golden(name: str) -> dict[str, dict[str, Any]]:
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def known(comfy: ComfyServer) -> dict[str, Any]:
    return comfy.object_info()


def fits(given: list[Any], value: Any, name: str) -> bool:
    """Whether a typed value is one that the input takes."""
    kind, options = given[0], given[1] if len(given) > 1 else {}
    choices = given[0] if isinstance(kind, list) else options.get("options")
    if choices is not None:
        return name in FILES or value in choices
    if kind in ("INT", "FLOAT"):
        return options.get("min", value) <= value <= options.get("max", value)
    return isinstance(value, {"STRING": str, "BOOLEAN": bool}[str(kind)])


@pytest.mark.parametrize("name", NAMES)
def test_an_old_graph_has_no_node_value_or_wire_that_is_unknown_today(
    name: str, known: dict[str, Any]
) -> None:
    graph = golden(name)
    for node in graph.values():
        if not node["class_type"].startswith(OURS):
            continue  # ComfyUI's own nodes are its own business
        info = known[node["class_type"]]
        needed = info["input"].get("required", {})
        inputs = {**needed, **info["input"].get("optional", {})}
        assert needed.keys() <= node["inputs"].keys() <= inputs.keys(), node["class_type"]
        for given, value in node["inputs"].items():
            if not isinstance(value, list):
                assert fits(inputs[given], value, given), f"{node['class_type']}: {given}"
            elif graph[value[0]]["class_type"].startswith(OURS):
                kinds = known[graph[value[0]]["class_type"]]["output"]
                assert kinds[value[1]] == inputs[given][0], f"{node['class_type']}: {given}"


def test_the_old_graphs_hold_every_node_that_there_was() -> None:
    kinds = {node["class_type"] for name in NAMES for node in golden(name).values()}
    assert len({kind for kind in kinds if kind.startswith(OURS)}) == 33  # all but the inner step


@pytest.mark.parametrize("name", RUNNABLE)
def test_an_old_graph_runs(name: str, comfy: ComfyServer) -> None:
    graph = golden(name)
    run = comfy.succeed(graph)
    for number, node in graph.items():
        if node["class_type"] in SHOWING:
            assert run.images(number)
