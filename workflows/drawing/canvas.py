"""A workflow as ComfyUI's canvas saves it, and as its API takes it: two writings of one Graph.

It knows how nodes and wires are written, and no graph; the sockets of node types are in kinds.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .kinds import KINDS, NOTE, class_type_of, pairs

Point = tuple[int, int]
VERSION = "0.2.0"  # of the pack, the oldest that opens these graphs
CORE_VERSION = "0.8.0"  # of ComfyUI, likewise
CONTROLLED = ("seed",)  # widgets followed by what happens to them after a run
OPTIONAL = ("draft_prompt",)  # widgets that take a wire, and that a node does without
TITLE, HEADER, MARGIN = 30, 50, 20  # pixels: a node's title bar; a group's title; a group's border
FOOT = 30  # pixels of a group below its nodes, which grow in some Nodes 2.0
# Between a node and the next one's title bar: Nodes 2.0 hangs "Error" and "Show advanced" there.
GAP = 45


@dataclass(frozen=True)
class Wire:
    """From an output of another node, led along points where it would cross a node otherwise."""

    source: str
    output: str
    via: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    tall: int
    title: str
    models: Sequence[dict[str, str]]  # files that ComfyUI offers to download
    inputs: dict[str, Any]  # Wires, and the values of widgets in their order
    at: Point = (0, 0)
    width: int = 0

    @property
    def end(self) -> Point:
        return self.at[0] + self.width, self.at[1] + self.tall


@dataclass(frozen=True)
class Group:
    """A coloured frame around nodes."""

    title: str
    colour: str
    members: Sequence[Node]


@dataclass(frozen=True)
class App:
    """What a ComfyUI with an app mode shows in place of the graph: widgets, as node and name, and
    the nodes whose pictures came out."""

    inputs: Sequence[tuple[str, str]]
    outputs: Sequence[str]


@dataclass(frozen=True)
class Graph:
    """Nodes stand after those that they have wires from. A template has a title, which is its
    file's name; its graph for the API has its name."""

    name: str
    nodes: Sequence[Node]
    groups: Sequence[Group] = ()
    title: str = ""
    app: App | None = None
    ids: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        notes_last = sorted(self.nodes, key=lambda node: node.kind == NOTE)
        object.__setattr__(self, "nodes", notes_last)
        object.__setattr__(self, "ids", {node.name: i for i, node in enumerate(notes_last, 1)})

    def named(self, name: str) -> Node:
        return self.nodes[self.ids[name] - 1]


def node(
    name: str,
    kind: str,
    tall: int = 0,
    title: str = "",
    models: Sequence[dict[str, str]] = (),
    **inputs: Any,
) -> Node:
    return Node(name, kind, tall or KINDS[kind].tall, title, models, inputs)


def stack(x: int, y: int, width: int, *nodes: Node, gap: int = GAP) -> list[Node]:
    """The nodes below one another, from a place on; a wire from one to the next runs between."""
    placed: list[Node] = []
    for node in nodes:
        if placed:
            lane = y - TITLE - gap // 2
            back = ((x + width + 10, lane), (x - 10, lane))
            for name, wire in node.inputs.items():
                if isinstance(wire, Wire) and wire.source == placed[-1].name:
                    node.inputs[name] = replace(wire, via=back)
        placed.append(replace(node, at=(x, y), width=width))
        y += node.tall + gap + TITLE
    return placed


def slot_of(graph: Graph, wire: Wire) -> tuple[int, str]:
    """Which output of its node a wire begins at, and the type of what it carries."""
    outputs = pairs(KINDS[graph.named(wire.source).kind].outputs)
    names = [name for name, _ in outputs]
    return names.index(wire.output), outputs[names.index(wire.output)][1]


# ---------------------------------------------------------------- the API's writing


def as_api(graph: Graph) -> dict[str, Any]:
    def value(given: Any) -> Any:
        if isinstance(given, Wire):
            return [str(graph.ids[given.source]), slot_of(graph, given)[0]]
        return given

    return {
        str(graph.ids[node.name]): {
            "inputs": {name: value(given) for name, given in node.inputs.items()},
            "class_type": class_type_of(node.kind),
            "_meta": {"title": node.title or node.kind},
        }
        for node in graph.nodes
        if node.kind != NOTE
    }


# ---------------------------------------------------------------- the canvas's writing


@dataclass(frozen=True)
class Link:
    id: int
    wire: Wire
    target: str
    input: str


def as_canvas(graph: Graph) -> dict[str, Any]:
    links = list(linked(graph))
    return {
        "id": str(uuid5(NAMESPACE_URL, f"reflectionflow/{graph.name}")),
        "revision": 0,
        "last_node_id": len(graph.nodes),
        "last_link_id": len(links),
        "nodes": [drawn(graph, node, links) for node in graph.nodes],
        "links": [line(graph, link) for link in links],
        "groups": [framed(group, i) for i, group in enumerate(graph.groups, 1)],
        "config": {},
        "extra": bends(links) | as_app(graph),
        "version": 0.4,
    }


def linked(graph: Graph) -> Iterator[Link]:
    wires = (
        (node, name, given)
        for node in graph.nodes
        for name, given in node.inputs.items()
        if isinstance(given, Wire)
    )
    for i, (node, name, wire) in enumerate(wires, 1):
        yield Link(i, wire, node.name, name)


def line(graph: Graph, link: Link) -> list[Any]:
    slot, kind = slot_of(graph, link.wire)
    names = [socket["name"] for socket in sockets(graph, graph.named(link.target), [])]
    ends = [graph.ids[link.wire.source], slot, graph.ids[link.target], names.index(link.input)]
    return [link.id, *ends, kind]


def drawn(graph: Graph, node: Node, links: list[Link]) -> dict[str, Any]:
    kind = KINDS[node.kind]
    pack = ("reflectionflow", VERSION) if kind.ours else ("comfy-core", CORE_VERSION)
    properties = {"Node name for S&R": class_type_of(node.kind), "cnr_id": pack[0], "ver": pack[1]}
    return {
        "id": graph.ids[node.name],
        "type": class_type_of(node.kind),
        "pos": list(node.at),
        "size": [node.width, node.tall],
        "flags": {},
        "order": graph.ids[node.name] - 1,
        "mode": 0,
        "inputs": sockets(graph, node, links),
        "outputs": [
            {"name": name, "type": kind, "links": ids_from(links, node.name, name) or None}
            for name, kind in pairs(kind.outputs)
        ],
        **({"title": node.title} if node.title else {}),
        "properties": properties | ({"models": list(node.models)} if node.models else {}),
        "widgets_values": list(widget_values(graph, node)),
        **({"color": "#432", "bgcolor": "#000"} if node.kind == NOTE else {}),
    }


def sockets(graph: Graph, node: Node, links: Iterable[Link]) -> list[dict[str, Any]]:
    """All sockets, and after them the widgets that have a wire."""
    ids = {link.input: link.id for link in links if link.target == node.name}
    inputs = pairs(KINDS[node.kind].inputs)
    rows: list[dict[str, Any]] = []
    for name, kind in inputs:
        if kind:
            optional = {"shape": 7} if kind.endswith("?") else {}
            rows.append({"name": name, "type": kind.rstrip("?"), "link": ids.get(name)} | optional)
    for name, kind in inputs:
        wire = node.inputs.get(name)
        if not kind and isinstance(wire, Wire):
            typed = {"name": name, "type": slot_of(graph, wire)[1], "widget": {"name": name}}
            optional = {"shape": 7} if name in OPTIONAL else {}
            rows.append(typed | {"link": ids.get(name)} | optional)
    return rows


def widget_values(graph: Graph, node: Node) -> Iterator[Any]:
    """The widgets' values in their order; one with a wire holds what stands at the wire's end."""
    for name, kind in pairs(KINDS[node.kind].inputs):
        if kind:
            continue
        given = node.inputs[name]
        if isinstance(given, Wire):
            given = graph.named(given.source).inputs.get("value", "")
        yield given
        if name in CONTROLLED or node.kind == "PrimitiveInt":
            yield "fixed"
    if node.kind == "LoadImage":
        yield "image"  # its upload button


def ids_from(links: list[Link], source: str, output: str) -> list[int]:
    return [link.id for link in links if (link.wire.source, link.wire.output) == (source, output)]


def framed(group: Group, number: int) -> dict[str, Any]:
    left = min(node.at[0] for node in group.members) - MARGIN
    top = min(node.at[1] for node in group.members) - TITLE - HEADER
    right = max(node.end[0] for node in group.members) + MARGIN
    bottom = max(node.end[1] for node in group.members) + FOOT
    return {
        "id": number,
        "title": group.title,
        "bounding": [left, top, right - left, bottom - top],
        "color": group.colour,
        "font_size": 24,
        "flags": {},
    }


def bends(links: list[Link]) -> dict[str, Any]:
    """The points that wires are led along; wires from one output share their first points."""
    points: dict[tuple[Any, ...], dict[str, Any]] = {}
    ends = []
    for link in links:
        start = (link.wire.source, link.wire.output)
        for count in range(1, len(link.wire.via) + 1):
            path = (*start, *link.wire.via[:count])
            before = points.get(path[:-1])
            bend = points.setdefault(
                path,
                {"id": len(points) + 1}
                | ({"parentId": before["id"]} if before else {})
                | {"pos": list(path[-1]), "linkIds": []},
            )
            bend["linkIds"].append(link.id)
        if link.wire.via:
            ends.append({"id": link.id, "parentId": points[(*start, *link.wire.via)]["id"]})
    return {"reroutes": list(points.values()), "linkExtensions": ends} if points else {}


def as_app(graph: Graph) -> dict[str, Any]:
    """What App shows of the graph, where ComfyUI has that; other versions pass it over.

    `linearMode`, which opens the app at once, is left out: ComfyUI 0.8.0 has an unfinished one."""
    if graph.app is None:
        return {}
    inputs = [[graph.ids[name], widget] for name, widget in graph.app.inputs]
    outputs = [graph.ids[name] for name in graph.app.outputs]
    return {"linearData": {"inputs": inputs, "outputs": outputs}}
