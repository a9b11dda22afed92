"""The blueprints: subgraphs that ComfyUI lists beside its nodes, opened, unfolded and run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_browser import Interface, browsing
from comfy_graphs import OURS, Graph, link, ours, shown
from comfy_server import ROOT, ComfyServer

FILES = sorted((ROOT / "subgraphs").glob("*.json"))
FIX, SEARCH = "Fix picture by words", "Search until it is right"
SMALL = {"lora": "miniature", "steps": 12, "condition_size": 64}
# The graph behind the canvas, the nodes inside subgraphs included, as Run would send it.
PROMPT = "async () => (await app.graphToPrompt()).output"
OUTSIDE = """() => app.graph.nodes.map(node => ({
    inputs: node.inputs.filter(input => !input.widget).map(input => input.name),
    outputs: node.outputs.map(output => output.name),
    widgets: node.widgets.map(widget => widget.name)}))[0]"""


@pytest.fixture(scope="module")
def interface(comfy: ComfyServer) -> Iterator[Interface]:
    with browsing(comfy) as interface:
        yield interface


def content(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "subgraphs" / f"{name}.json").read_text("utf-8"))


def unfolded(interface: Interface, name: str) -> Graph:
    """The nodes of a blueprint on the miniature, by their types instead of numbers."""
    interface.load(ROOT / "subgraphs" / f"{name}.json")
    sent = interface.page.evaluate(PROMPT)
    names = {number: node["class_type"].removeprefix(OURS) for number, node in sent.items()}
    graph: Graph = {}
    for number, node in sent.items():
        given = {
            key: [names[value[0]], value[1]] if isinstance(value, list) else value
            for key, value in node["inputs"].items()
        }
        graph[names[number]] = {"class_type": node["class_type"], "inputs": given}
    graph["mini"] = ours("MiniatureLoader")
    graph["LoadCorrector"]["inputs"] |= {"model": link("mini"), "lora": "miniature"}
    small = {"width": 64, "height": 64, "steps": 12, "condition_size": 64}
    graph["FluxFromModel"]["inputs"] |= {"clip": link("mini", 1), "vae": link("mini", 2), **small}
    return graph


def test_comfyui_lists_and_hands_out_the_blueprints(comfy: ComfyServer) -> None:
    listed = comfy.get("/global_subgraphs")
    mine = {row["name"]: id for id, row in listed.items() if row["source"] == "custom_node"}
    assert sorted(mine) == sorted([FIX, SEARCH]) == [file.stem for file in FILES]
    for name, id in mine.items():
        assert json.loads(comfy.get(f"/global_subgraphs/{id}")["data"]) == content(name)


@pytest.mark.parametrize("name", [FIX, SEARCH])
def test_every_wire_of_a_blueprint_is_known_at_both_ends(name: str) -> None:
    """Each socket names its links, and each link its sockets, as ComfyUI's own blueprints do."""
    [inner] = content(name)["definitions"]["subgraphs"]
    ends = {node["id"]: node for node in inner["nodes"]}
    assert [node["type"] for node in content(name)["nodes"]] == [inner["id"]]
    for one in inner["links"]:
        start, end = one["origin_slot"], one["target_slot"]
        if one["origin_id"] == inner["inputNode"]["id"]:
            source = inner["inputs"][start]
            assert one["id"] in source["linkIds"]
        else:
            source = ends[one["origin_id"]]["outputs"][start]
            assert one["id"] in source["links"]
        if one["target_id"] == inner["outputNode"]["id"]:
            target = inner["outputs"][end]
            assert target["linkIds"] == [one["id"]]
        else:
            target = ends[one["target_id"]]["inputs"][end]
            assert target["link"] == one["id"]
        assert source["type"] == target["type"].rstrip("?") == one["type"]
    assert all(socket["linkIds"] for socket in [*inner["inputs"], *inner["outputs"]])


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "widgets"),
    [
        (
            FIX,
            ["model", "clip", "vae", "image", "mask"],
            ["image", "before_after"],
            ["prompt", "words", "seed", "corrector", "width", "height", "steps"],
        ),
        (
            SEARCH,
            ["model", "clip", "vae", "seeing_clip"],
            ["best", "sheet", "images", "report"],
            ["prompt", "chains", "rounds", "seed", "corrector", "width", "height", "steps"],
        ),
    ],
)
def test_the_node_outside_shows_what_people_set(
    interface: Interface, name: str, inputs: list[str], outputs: list[str], widgets: list[str]
) -> None:
    interface.load(Path(ROOT / "subgraphs" / f"{name}.json"))
    seen = interface.page.evaluate(OUTSIDE)
    assert seen == {"inputs": inputs, "outputs": outputs, "widgets": widgets}


def test_fix_picture_by_words_does_as_told(comfy: ComfyServer, interface: Interface) -> None:
    graph = unfolded(interface, FIX)
    flux = link("FluxFromModel")
    red = {"prompt": "a photo of a red circle", "count": 1, "seed": 2, "batch_size": 1}
    graph["draft"] = ours("DraftSampler", flux=flux, **red)
    words = {"prompt": "a photo of a blue circle", "words": "recolor the red circle blue"}
    graph["FixPicture"]["inputs"] |= {"image": link("draft"), **words}
    graph |= {"before": shown(link("draft")), "after": shown(link("FixPicture"))}
    run = comfy.succeed(graph)
    before, after = (run.images(name)[0].convert("RGB") for name in ("before", "after"))
    assert before.size == after.size
    assert before.tobytes() != after.tobytes()


def test_the_search_runs_with_its_own_wires(comfy: ComfyServer, interface: Interface) -> None:
    """The miniature's judge stands in for the vision model, which is a download."""
    graph = unfolded(interface, SEARCH)
    assert graph["Judge"]["inputs"]["vlm"] == graph["Critic"]["inputs"]["vlm"]
    assert graph["ReflectionLoop"]["inputs"]["stop"] == "when passed"
    del graph["VisionModel"], graph["Critic"]["inputs"]["vlm"]
    graph["Judge"] = ours("Judge", judge="the miniature's shapes", **{"judge.error": 0.0})
    graph["ReflectionLoop"]["inputs"]["prompt"] = "a photo of three red circles"
    run = comfy.succeed(graph)
    assert run.outputs["ReflectionTrail"]["images"]
