"""Graphs in ComfyUI's API format, built by name: what the tests of the node pack queue.

    graph = loop_graph(depth=2, seed=7)     # nodes have speaking ids: graph["loop"], graph["flux"]
"""

from __future__ import annotations

from typing import Any

OURS = "ReflectionFlow_"
PROMPT = "a photo of a red circle and a blue square"
EASY = "a photo of a red circle"

Node = dict[str, Any]
Graph = dict[str, Node]
Link = list[Any]


def node(kind: str, **inputs: Any) -> Node:
    """A node of ours, or any other by its whole name."""
    return {"class_type": kind, "inputs": {k: v for k, v in inputs.items() if v is not None}}


def ours(kind: str, **inputs: Any) -> Node:
    return node(OURS + kind, **inputs)


def link(name: str, slot: int = 0) -> Link:
    return [name, slot]


def seats() -> Graph:
    """The miniature and who judges, writes and rewrites; a node takes `**WIRED`."""
    return {
        "flux": ours("FluxLoader", model="miniature", dtype="bf16"),
        "verifier": ours("VerifierLoader", verifier="exact", error=0.0),
        "writer": ours("WriterLoader", writer="template"),
        "evolver": ours("EvolverLoader", evolver="rules"),
    }


WIRED: dict[str, Link] = {name: link(name) for name in ("flux", "verifier", "writer", "evolver")}
REQUEST: dict[str, Any] = {
    "prompt": PROMPT,
    "width": 2,
    "drafts": 0,
    "seed": 0,
    "strategy": "reflection",
    "stop": "never",
    "stop_score": 1.0,
    "save_run": False,
}
OPTIONS: dict[str, Any] = {
    "noise_axis": True,
    "prompt_axis": True,
    "reflection_axis": True,
    "parents": "latest",
    "noise_search": "random",
    "radius": 0.3,
    "batch_size": 1,
    "max_images": 0,
    "max_vlm_calls": 0,
    "max_seconds": 0,
}


def sampling(flux: str = "flux", **changes: Any) -> Node:
    unchanged = {"width": 0, "height": 0, "steps": 0, "guidance": 0.0, "condition_size": 0}
    given = {**unchanged, "condition_fit": "squash", **changes}
    return ours("FluxSampling", flux=link(flux), **given)


def search_options(**changes: Any) -> Node:
    return ours("SearchOptions", **{**OPTIONS, **changes})


def shown(images: Link) -> Node:
    return node("PreviewImage", images=images)


def told(source: Link) -> Node:
    return node("PreviewAny", source=source)


def loop_graph(depth: int = 2, steps: int = 0, **changes: Any) -> Graph:
    """A Reflection Loop with every output looked at: nodes best, images, report, history."""
    graph = seats()
    wires = dict(WIRED)
    if steps:
        graph["sampling"] = sampling(steps=steps)
        wires["flux"] = link("sampling")
    graph["loop"] = ours("ReflectionLoop", **{**wires, **REQUEST, "depth": depth, **changes})
    return {**graph, **results_of("loop")}


def results_of(name: str) -> Graph:
    """Looks at the four outputs that a loop has: best, images, report, history."""
    return {
        "best": shown(link(name, 0)),
        "images": shown(link(name, 1)),
        "report": told(link(name, 2)),
    }


def drafts_graph(count: int = 2, prompt: str = PROMPT, **changes: Any) -> Graph:
    """Drafts, shown at node `images`."""
    graph = {"flux": seats()["flux"]}
    given = {"flux": link("flux"), "prompt": prompt, "count": count, "seed": 0, "batch_size": 1}
    graph["drafts"] = ours("DraftSampler", **{**given, **changes})
    return {**graph, "images": shown(link("drafts"))}
