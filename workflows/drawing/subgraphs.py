"""A graph inside one node, as ComfyUI's canvas saves it: what stands in the node library as a
blueprint.

It knows how a subgraph is written, and none in particular.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .canvas import Graph, Link, Node, Wire, drawn, linked, slot_of

OUTSIDE = "outside"  # where the wires come from that enter a subgraph
ENTRANCE, EXIT = -10, -20  # what ComfyUI calls both ends of a subgraph
SOCKET, EDGE = 20, 120  # pixels: of a socket at either end, and how wide an end is
WIDE, TALL = 380, 520  # of the node outside


def outside(name: str) -> Wire:
    """A wire that enters the subgraph."""
    return Wire(OUTSIDE, name)


@dataclass(frozen=True)
class Widget:
    """One of a node inside, that stands on the node outside under its own name or another."""

    node: str
    name: str
    type: str
    label: str = ""

    @property
    def shown(self) -> str:
        return self.label or self.name


@dataclass(frozen=True)
class Blueprint:
    """`sockets` are the inputs' names and types, which the nodes of `graph` take as
    `Wire(OUTSIDE, name)`; `results` are the wires behind the outputs' names."""

    graph: Graph
    sockets: Sequence[tuple[str, str]]
    results: Sequence[tuple[str, Wire]]
    widgets: Sequence[Widget]
    says: str
    found_by: Sequence[str]

    @property
    def title(self) -> str:
        return self.graph.title

    @property
    def entrances(self) -> list[tuple[str, str]]:
        """The names and types of all that comes from outside, widgets last."""
        return [*self.sockets, *((widget.shown, widget.type) for widget in self.widgets)]

    @property
    def id(self) -> str:
        return str(uuid5(NAMESPACE_URL, f"reflectionflow/blueprint/{self.graph.name}"))


def as_blueprint(blueprint: Blueprint) -> dict[str, Any]:
    """A workflow of one node, and what stands in it."""
    outside = {
        "id": 1,
        "type": blueprint.id,
        "pos": [0, 0],
        "size": [WIDE, TALL],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            *({"name": name, "type": kind, "link": None} for name, kind in blueprint.sockets),
            *(
                {"name": w.shown, "type": w.type, "widget": {"name": w.shown}, "link": None}
                for w in blueprint.widgets
            ),
        ],
        "outputs": [
            {"name": name, "type": slot_of(blueprint.graph, wire)[1], "links": []}
            for name, wire in blueprint.results
        ],
        "title": blueprint.title,
        "properties": {"proxyWidgets": []},
        "widgets_values": [],
    }
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [outside],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition(blueprint)]},
        "extra": {
            "BlueprintDescription": blueprint.says,
            "BlueprintSearchAliases": list(blueprint.found_by),
        },
    }


def definition(blueprint: Blueprint) -> dict[str, Any]:
    graph = blueprint.graph
    inner = list(linked(graph))
    numbers = count(len(inner) + 1)
    held = [Link(next(numbers), outside(w.shown), w.node, w.name) for w in blueprint.widgets]
    leaving = [Link(next(numbers), wire, name, name) for name, wire in blueprint.results]
    links = [*inner, *held, *leaving]
    nodes = [inside(blueprint, node, links) for node in graph.nodes]
    top = min(node.at[1] for node in graph.nodes)
    left = min(node.at[0] for node in graph.nodes) - 3 * EDGE
    right = max(node.end[0] for node in graph.nodes) + 2 * EDGE
    entering = {
        name: [link.id for link in links if link.wire == outside(name)]
        for name, _ in blueprint.entrances
    }
    outgoing = {link.target: [link.id] for link in leaving}
    kinds = [(name, slot_of(graph, wire)[1]) for name, wire in blueprint.results]
    return {
        "id": blueprint.id,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": len(graph.nodes),
            "lastLinkId": len(links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.title,
        "inputNode": end(ENTRANCE, left, top, len(blueprint.entrances)),
        "outputNode": end(EXIT, right, top, len(blueprint.results)),
        "inputs": slots(blueprint, blueprint.entrances, entering, left + EDGE - SOCKET, top),
        "outputs": slots(blueprint, kinds, outgoing, right + SOCKET, top),
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": [joined(blueprint, nodes, link) for link in links],
        "extra": {"BlueprintDescription": blueprint.says},
        "category": "ReflectionFlow",
        "description": blueprint.says,
    }


def end(id: int, x: int, y: int, slots: int) -> dict[str, Any]:
    """An end of the subgraph: a frame around its sockets."""
    return {"id": id, "bounding": [x, y, EDGE, 2 * SOCKET + SOCKET * slots]}


def slots(
    blueprint: Blueprint,
    named: Sequence[tuple[str, str]],
    links: dict[str, list[int]],
    x: int,
    y: int,
) -> list[dict[str, Any]]:
    return [
        {
            "id": str(uuid5(NAMESPACE_URL, f"{blueprint.id}/{x}/{name}")),
            "name": name,
            "type": kind,
            "linkIds": links[name],
            "pos": [x, y + SOCKET * (place + 1)],
        }
        for place, (name, kind) in enumerate(named)
    ]


def inside(blueprint: Blueprint, node: Node, links: list[Link]) -> dict[str, Any]:
    """A node, with a socket for each of its widgets that stand outside."""
    row = drawn(blueprint.graph, node, links)
    ids = {link.input: link.id for link in links if link.target == node.name}
    widgets = [widget for widget in blueprint.widgets if widget.node == node.name]
    sockets = [
        {"name": w.name, "type": w.type, "widget": {"name": w.name}, "link": ids[w.name]}
        for w in widgets
    ]
    return row | {"inputs": [*row["inputs"], *sockets]}


def joined(blueprint: Blueprint, nodes: Sequence[dict[str, Any]], link: Link) -> dict[str, Any]:
    """A wire inside, perhaps from or to an end."""
    graph = blueprint.graph
    if link.wire.source == OUTSIDE:
        names = [name for name, _ in blueprint.entrances]
        start = names.index(link.wire.output)
        origin, kind = ENTRANCE, blueprint.entrances[start][1]
    else:
        start, kind = slot_of(graph, link.wire)
        origin = graph.ids[link.wire.source]
    if link.target in graph.ids:
        target = graph.ids[link.target]
        rows = nodes[target - 1]["inputs"]
        place = [row["name"] for row in rows].index(link.input)
    else:
        target, place = EXIT, [name for name, _ in blueprint.results].index(link.target)
    ends = {"origin_id": origin, "origin_slot": start, "target_id": target, "target_slot": place}
    return {"id": link.id, **ends, "type": kind}
