"""What ComfyUI knows of our nodes; workflows that people saved depend on it.

object_info.json is the golden file. After adding a node or appending an input, rewrite it:

    REFLECTIONFLOW_REWRITE_GOLDEN=1 python -m pytest tests/nodes/test_schema.py

That refuses to take an input away or to move it: saved workflows hold their values by position. To
do so all the same, before a first release, delete the file first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from comfy_graphs import OURS
from comfy_server import PACK, ROOT, ComfyServer

GOLDEN = Path(__file__).parent / "object_info.json"
REWRITE = os.environ.get("REFLECTIONFLOW_REWRITE_GOLDEN") == "1"
# Combos of what this ComfyUI has.
HERE_ONLY = {"model", "base", "lora", "detector", "sampler", "scheduler"}
KEPT = (
    "default",
    "min",
    "max",
    "step",
    "multiline",
    "control_after_generate",
    "forceInput",
    "lazy",
)

Golden = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def nodes(comfy: ComfyServer) -> dict[str, dict[str, Any]]:
    known = comfy.object_info()
    return {name: known[name] for name in sorted(known) if name.startswith(OURS)}


def golden_of(nodes: dict[str, dict[str, Any]]) -> Golden:
    return {
        name: {
            "inputs": [
                golden_input(name, info["input"][group][name], group)
                for group in ("required", "optional")
                for name in info["input_order"].get(group, ())
            ],
            "outputs": [
                {"name": output, "type": kind, "list": is_list}
                for output, kind, is_list in zip(
                    info["output_name"], info["output"], info["output_is_list"], strict=True
                )
            ],
            "output_node": info["output_node"],
        }
        for name, info in nodes.items()
    }


def golden_input(name: str, given: list[Any], group: str) -> dict[str, Any]:
    kind, options = given[0], given[1] if len(given) > 1 else {}
    if isinstance(kind, list):
        kind, options = "COMBO", {**options, "options": kind}
    entry = {"name": name, "type": kind, "group": group}
    entry |= {key: options[key] for key in KEPT if options.get(key) is not None}
    if kind == "COMBO" and name not in HERE_ONLY:
        entry["options"] = options["options"]
    return entry


def one_a_line(golden: Golden) -> str:
    """JSON with one input or output on each line, so that a diff shows what changed."""
    nodes = []
    for name, entry in golden.items():
        parts = [
            f'  "{part}": [\n' + ",\n".join(f"   {json.dumps(t)}" for t in entry[part]) + "\n  ]"
            for part in ("inputs", "outputs")
        ]
        parts.append(f'  "output_node": {json.dumps(entry["output_node"])}')
        nodes.append(f' "{name}": {{\n' + ",\n".join(parts) + "\n }")
    return "{\n" + ",\n".join(nodes) + "\n}\n"


def written() -> Golden:
    return json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}


def test_no_node_and_no_input_of_the_golden_file_is_gone_or_moved(
    nodes: dict[str, dict[str, Any]],
) -> None:
    now = golden_of(nodes)
    for name, before in written().items():
        assert name in now
        for part in ("inputs", "outputs"):
            known = [(entry["name"], entry["type"]) for entry in before[part]]
            assert [(t["name"], t["type"]) for t in now[name][part]][: len(known)] == known, name


def test_nodes_are_as_the_golden_file_says(nodes: dict[str, dict[str, Any]]) -> None:
    now = golden_of(nodes)
    if REWRITE:
        test_no_node_and_no_input_of_the_golden_file_is_gone_or_moved(nodes)
        GOLDEN.write_text(one_a_line(now), encoding="utf-8")
    assert written() == now, "see the top of this file for how to rewrite it"


def test_every_node_input_and_output_is_explained(nodes: dict[str, dict[str, Any]]) -> None:
    for name, info in nodes.items():
        assert info["description"].endswith("."), name
        assert info["category"].split("/")[0] == "ReflectionFlow"
        assert info["display_name"] != name
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        for given, (_, options) in inputs.items():
            assert options["tooltip"].endswith("."), f"{name}: {given}"
        assert all(tip and tip.endswith(".") for tip in info["output_tooltips"]), name


def test_every_node_has_a_help_page_that_comfyui_serves(
    comfy: ComfyServer, nodes: dict[str, dict[str, Any]]
) -> None:
    for name in nodes:
        page = ROOT / "nodes" / "web" / "docs" / f"{name}.md"
        assert page.is_file(), page.name
        served = comfy.fetch(f"/extensions/{PACK}/docs/{name}.md").decode()
        assert served == page.read_text(encoding="utf-8")
        assert served.startswith("# ")


def test_no_help_page_speaks_of_a_node_that_is_not_there(
    nodes: dict[str, dict[str, Any]],
) -> None:
    assert {page.stem for page in (ROOT / "nodes" / "web" / "docs").glob("*.md")} <= set(nodes)


def test_a_help_page_names_every_input_of_its_node(
    nodes: dict[str, dict[str, Any]],
) -> None:
    for name, info in nodes.items():
        page = ROOT / "nodes" / "web" / "docs" / f"{name}.md"
        if page.is_file():  # its absence is another test's business
            text = page.read_text(encoding="utf-8").lower()  # `flux` is shown as FLUX
            order = info["input_order"]
            inputs = [*order.get("required", ()), *order.get("optional", ())]
            assert not [given for given in inputs if given not in text], name


def test_no_field_asks_for_a_key_or_an_address(nodes: dict[str, dict[str, Any]]) -> None:
    for name, entry in golden_of(nodes).items():
        for given in entry["inputs"]:
            words = given["name"].lower().split("_")
            assert not {"key", "token", "secret", "password", "url"} & set(words), name


def test_newer_comfyuis_find_our_nodes_by_other_words_and_hide_the_inner_step(
    comfy: ComfyServer, nodes: dict[str, dict[str, Any]]
) -> None:
    if "search_aliases" not in comfy.object_info("KSampler")["KSampler"]:
        pytest.skip("this ComfyUI knows no search aliases yet")
    aliases = {name: info["search_aliases"] for name, info in nodes.items()}
    assert all(aliases[name] for name in aliases if name != f"{OURS}ReflectionStep")
