"""Where nodes and wires of a graph are on ComfyUI's canvas, in either renderer, and what is wrong.

Lengths are in pixels of the graph, at a zoom of 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

TITLE = 30  # a node's position is its body's; the title stands above
STEPS = 24  # straight pieces of a curve
# Nodes with their titles, and below Nodes 2.0's nodes what hangs there; sockets; wires with the
# points that they are led along.
PLACES = """() => {
    const { scale, offset } = app.canvas.ds
    const canvas = app.canvas.canvas.getBoundingClientRect()
    const onGraph = (x, y) => [(x - canvas.left) / scale - offset[0],
                               (y - canvas.top) / scale - offset[1]]
    const middle = element => {
        const box = element.getBoundingClientRect()
        return onGraph(box.left + box.width / 2, box.top + box.height / 2)
    }
    const drawn = id => document.querySelector(`[data-node-id="${id}"]`)
    const slot = (node, out, index) => {
        const dot = document.querySelector(
            `[data-slot-key="${node.id}-${out ? 'out' : 'in'}-${index}"]`)
        return dot ? middle(dot) : [...node.getConnectionPos(!out, index)]
    }
    const box = node => {
        const element = drawn(node.id)
        if (!element) return [node.pos[0], node.pos[1] - 30,
                              node.pos[0] + node.size[0], node.pos[1] + node.size[1]]
        const own = element.getBoundingClientRect()
        const parts = [own, ...[...element.querySelectorAll('*')]
            .filter(part => !part.closest('.lg-node-content, svg, .overflow-hidden'))
            .map(part => part.getBoundingClientRect())
            .filter(part => part.width && part.left > own.left - 2 && part.right < own.right + 2)]
        return [...onGraph(own.left, own.top),
                ...onGraph(own.right, Math.max(...parts.map(part => part.bottom)))]
    }
    const links = [...(app.graph.links.values?.() ?? Object.values(app.graph.links))]
    const led = link => {
        const points = []
        let next = link.parentId
        while (next !== undefined) {
            const reroute = app.graph.reroutes.get(next)
            points.unshift([...reroute.pos])
            next = reroute.parentId
        }
        return points
    }
    return {
        nodes: app.graph.nodes.map(node => ({id: node.id, title: node.title, box: box(node)})),
        groups: app.graph.groups.map(group => ({title: group.title, box: [
            group.pos[0], group.pos[1],
            group.pos[0] + group.size[0], group.pos[1] + group.size[1]]})),
        wires: links.map(link => {
            const from = app.graph.getNodeById(link.origin_id)
            const to = app.graph.getNodeById(link.target_id)
            return {from: link.origin_id, to: link.target_id,
                    name: `${from.title}.${from.outputs[link.origin_slot].name} to ` +
                          `${to.title}.${to.inputs[link.target_slot].name}`,
                    source: [link.origin_id, link.origin_slot],
                    points: [slot(from, true, link.origin_slot), ...led(link),
                             slot(to, false, link.target_slot)]}
        }),
    }
}"""


@dataclass(frozen=True)
class Wire:
    name: str
    ends: tuple[Any, Any]  # the ids of its nodes
    source: tuple[Any, int]  # the socket from which it comes
    curve: Sequence[Point]


@dataclass(frozen=True)
class Places:
    nodes: dict[Any, tuple[str, Box]]
    groups: Sequence[tuple[str, Box]]
    wires: Sequence[Wire]

    def faults(self) -> list[str]:
        """Nodes on nodes, groups on groups, nodes half in a group, and wires behind nodes."""
        boxes = list(self.nodes.values())
        found = [f"overlap: {a} and {b}" for a, b in overlaps(boxes) + overlaps(self.groups)]
        found += [
            f"sticks out: {title} of {group}"
            for group, frame in self.groups
            for title, box in boxes
            if overlap(box, frame) and not inside(box, frame)
        ]
        return found + [
            f"wire behind {title}: {wire.name}"
            for wire in self.wires
            for number, (title, box) in self.nodes.items()
            if number not in wire.ends and any(within(point, box) for point in wire.curve)
        ]

    def crossings(self) -> list[str]:
        """Wires that cross; those of one socket may run together."""
        return [
            f"{one.name} crosses {other.name}"
            for one, other in combinations(self.wires, 2)
            if one.source != other.source and cross(one.curve, other.curve)
        ]


def places(page: Page) -> Places:
    """What is on the page's canvas, which must show all of the graph."""
    seen = page.evaluate(PLACES)
    return Places(
        {node["id"]: (node["title"], tuple(node["box"])) for node in seen["nodes"]},
        [(group["title"], tuple(group["box"])) for group in seen["groups"]],
        [
            Wire(
                wire["name"],
                (wire["from"], wire["to"]),
                tuple(wire["source"]),
                list(along([tuple(point) for point in wire["points"]])),
            )
            for wire in seen["wires"]
        ],
    )


def along(points: Sequence[Point]) -> Iterator[Point]:
    """The curve that ComfyUI draws, point by point: a Bezier curve that leaves and arrives level,
    as far as a quarter of the distance; at points that it is led along it turns at once."""
    last = len(points) - 2
    for index, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        reach = 0.25 * ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        leaves = x0 + reach * (index == 0)
        arrives = x1 - reach * (index == last)
        for step in range(STEPS + 1):
            t = step / STEPS
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
            yield a * x0 + b * leaves + c * arrives + d * x1, (a + b) * y0 + (c + d) * y1


def cross(one: Sequence[Point], other: Sequence[Point]) -> bool:
    return any(
        meet(a, b, c, d) for a, b in pairwise(one) for c, d in pairwise(other) if near(a, b, c, d)
    )


def near(a: Point, b: Point, c: Point, d: Point) -> bool:
    """True if the boxes around a piece from a to b, and around one from c to d, touch."""
    return all(
        max(a[i], b[i]) >= min(c[i], d[i]) and max(c[i], d[i]) >= min(a[i], b[i]) for i in (0, 1)
    )


def meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """True if the piece from a to b crosses that from c to d."""
    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def side(a: Point, b: Point, c: Point) -> float:
    """Positive, negative or 0: left of, right of or on the line from a to b lies c."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def within(point: Point, box: Box) -> bool:
    return box[0] < point[0] < box[2] and box[1] < point[1] < box[3]


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def overlaps(boxes: Sequence[tuple[str, Box]]) -> list[tuple[str, str]]:
    return [(name, other) for (name, a), (other, b) in combinations(boxes, 2) if overlap(a, b)]


def inside(a: Box, b: Box) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]
