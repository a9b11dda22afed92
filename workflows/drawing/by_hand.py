"""The graph that is wired from the five nodes: drafts, and one round beside them.

Wires that several nodes share run in lanes below all columns, and up before the nodes; there they
cross, and nowhere run behind a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import notes
from .canvas import GAP, Graph, Group, Node, Point, Wire, node, stack
from .parts import (
    BLUE,
    GREEN,
    LANE,
    SLOT,
    STEP,
    THREE,
    around,
    columns,
    critic,
    explained,
    miniature,
    shapes_judge,
    source_y,
)

WIDTHS = (280, 270, 270, 270, 270, 270)
X = columns(*WIDTHS, wider=dict.fromkeys(range(1, 6), 25))
TALL = 830
LANES = 905  # y of the uppermost lane
LED = ("images", "prompt", "verifier", "flux")  # the wires in the lanes, from the uppermost on
SOURCES = {"images": "score0", "writer": "critic", "evolver": "critic"}
OUTPUTS = {"flux": "FLUX", "prompt": "STRING"}


def by_hand() -> Graph:
    name, title = "by_hand", "1.3 Reflection, the five nodes by hand without a download"
    who = stack(X[0], 0, WIDTHS[0], miniature(), shapes_judge())
    prompt = node("prompt", "PrimitiveStringMultiline", 90, "Prompt", value=THREE)
    asked = stack(X[0], who[-1].end[1] + 125, WIDTHS[0], prompt)
    drafts = [*draft(), *judged(2, 0, "drafts", "best first")]
    said = stack(X[3], 0, WIDTHS[3], critic(vlm=False), write(), evolve())
    above, writer, evolver = said
    led = around(above, "evolver", writer.end[1] + GAP // 2, evolver.at[1] + SLOT + STEP)
    said[-1] = replace(evolver, inputs=evolver.inputs | {"evolver": led})
    a_round = [*said, *correct(), *judged(5, 1, "correct", "as given")]
    begun = [*who, *asked, *drafts]
    groups = [
        Group("1 · Who paints, judges", BLUE, who),
        Group("2 · What to paint", BLUE, asked),
        Group("3 · Drafts: paint, judge", GREEN, drafts),
        Group(
            "4 · A round: say what to change, sharpen the prompt, correct, judge", GREEN, a_round
        ),
    ]
    nodes = [with_lanes(each, begun) for each in [*begun, *a_round]]
    return explained(name, title, notes.BY_HAND, nodes, groups)


def from_lane(name: str) -> Wire:
    return Wire(SOURCES.get(name, name), OUTPUTS.get(name, name))


def draft() -> list[Node]:
    given = {name: from_lane(name) for name in ("flux", "prompt")}
    given |= {"count": 2, "seed": 11, "batch_size": 1}
    return stack(X[1], 0, WIDTHS[1], node("drafts", "DraftSampler", TALL, **given))


def write() -> Node:
    """What to change in each draft."""
    return node("write", "ReflectionWriter", **seen(), writer=from_lane("writer"))


def evolve() -> Node:
    """A sharper prompt for each draft."""
    return node("evolve", "PromptEvolver", 270, **seen(), evolver=from_lane("evolver"))


def seen() -> dict[str, Wire]:
    judged = {name: Wire("score0", name) for name in ("images", "verdicts")}
    return judged | {"prompt": from_lane("prompt")}


def correct() -> list[Node]:
    given = {name: from_lane(name) for name in ("images", "flux")}
    texts = {"prompt": Wire("evolve", "prompts"), "reflections": Wire("write", "reflections")}
    rest = {"seed": 11, "round": 1, "batch_size": 1}
    made = node("correct", "CorrectorSampler", TALL, **given, **texts, **rest)
    return stack(X[4], 0, WIDTHS[4], made)


def judged(column: int, index: int, source: str, order: str) -> list[Node]:
    """Pictures judged, and shown in the order of their scores or as they came."""
    given = {name: from_lane(name) for name in ("prompt", "verifier")}
    images = Wire(source, "images")
    rest = {"order": order, "keep": 2}
    score = node(f"score{index}", "VerifierScore", 420, images=images, **given, **rest)
    seen = {"images": Wire(score.name, "images")}
    title = "After the round" if index else "Drafts, best first"
    shown = node(f"seen{index}", "PreviewImage", TALL - 495, title, **seen)
    return stack(X[column], 0, WIDTHS[column], score, shown)


# Where a wire from the lanes rises to, in pixels below the top of a node.
RISES = {"images": 14, "prompt": 75, "verifier": 34, "flux": 14}


def with_lanes(placed: Node, begun: Sequence[Node]) -> Node:
    """The node, its wires from further left than the next column led through the lanes."""
    at = {each.name: each for each in begun}
    inputs = dict(placed.inputs)
    for name, wire in inputs.items():
        if not isinstance(wire, Wire) or name not in LED or wire.source not in at:
            continue
        source = at[wire.source]
        if placed.at[0] - source.end[0] > 100 or name in ("prompt", "verifier"):
            inputs[name] = replace(wire, via=lane_of(name, wire, source, placed))
    return replace(placed, inputs=inputs)


def lane_of(name: str, wire: Wire, source: Node, target: Node) -> tuple[Point, ...]:
    number = LED.index(name)
    lane, left = LANES + LANE * number, source.end[0] + 15 + 9 * number
    right = target.at[0] - 80 + 10 * number
    rise = target.at[1] + RISES[name] + 20 * (target.kind == "CorrectorSampler" and name == "flux")
    start = (left, source_y(source, wire.output)), (left, lane)
    return (*start, (right, lane), (right, rise))
