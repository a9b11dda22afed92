"""The graph that is wired from the five nodes: drafts, and one round beside them.

Wires that several nodes share run in lanes below all columns, and up before the nodes; there they
cross, and nowhere run behind a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import notes
from .canvas import Graph, Group, Node, Point, Wire, node, stack
from .parts import (
    BLUE,
    GREEN,
    LANE,
    THREE,
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
EVOLVER = 400  # its y below the Reflection Writer
LANES = 905  # y of the uppermost lane
# The wires in the lanes, from the uppermost on; the first turns furthest from a column.
LED = ("images", "prompt", "verifier", "writer", "evolver", "flux", "seed")
SOURCES = {"images": "score0", "writer": "critic", "evolver": "critic"}
OUTPUTS = {"flux": "FLUX", "prompt": "STRING", "seed": "INT"}


def by_hand() -> Graph:
    name, title = "by_hand", "1.3 Reflection, the five nodes by hand without a download"
    who = stack(X[0], 0, WIDTHS[0], miniature(), shapes_judge(), critic(vlm=False))
    prompt = node("prompt", "PrimitiveStringMultiline", 90, "Prompt", value=THREE)
    seed = node("seed", "PrimitiveInt", title="Seed", value=11)
    asked = stack(X[0], who[-1].end[1] + 125, WIDTHS[0], prompt, seed)
    drafts = [draft(), *judged(2, 0, "drafts", "best first")]
    corrected = [*write(), *evolve(), *correct(), *judged(5, 1, "correct", "as given")]
    begun = [*who, *asked, *drafts]
    nodes = [*begun, *corrected]
    groups = [
        Group("1 · Who paints, judges, criticises", BLUE, who),
        Group("2 · What to paint", BLUE, asked),
        Group("3 · Drafts: paint, judge", GREEN, drafts),
        Group(
            "4 · A round: say what to change, sharpen the prompt, correct, judge", GREEN, corrected
        ),
    ]
    led = [with_lanes(each, begun) for each in nodes]
    return explained(name, title, notes.BY_HAND, led, groups)


def from_lane(name: str) -> Wire:
    return Wire(SOURCES.get(name, name), OUTPUTS.get(name, name))


def draft() -> Node:
    given = {name: from_lane(name) for name in ("flux", "prompt", "seed")}
    given |= {"count": 2, "batch_size": 1}
    return stack(X[1], 0, WIDTHS[1], node("drafts", "DraftSampler", TALL, **given))[0]


def write() -> list[Node]:
    """What to change in each draft."""
    given = seen() | {"writer": from_lane("writer")}
    return stack(X[3], 0, WIDTHS[3], node("write", "ReflectionWriter", EVOLVER - 75, **given))


def evolve() -> list[Node]:
    """A sharper prompt for each draft."""
    given = seen() | {"evolver": from_lane("evolver")}
    tall = TALL - EVOLVER
    return stack(X[3], EVOLVER, WIDTHS[3], node("evolve", "PromptEvolver", tall, **given))


def seen() -> dict[str, Wire]:
    judged = {name: Wire("score0", name) for name in ("images", "verdicts")}
    return judged | {"prompt": from_lane("prompt")}


def correct() -> list[Node]:
    given = {name: from_lane(name) for name in ("images", "flux", "seed")}
    texts = {"prompt": Wire("evolve", "prompts"), "reflections": Wire("write", "reflections")}
    rest = {"round": 1, "batch_size": 1}
    made = node("correct", "CorrectorSampler", TALL, **given, **texts, **rest)
    return stack(X[4], 0, WIDTHS[4], made)


def judged(column: int, index: int, source: str, order: str) -> list[Node]:
    given = {name: from_lane(name) for name in ("prompt", "verifier")}
    images = Wire(source, "images")
    rest = {"order": order, "keep": 2}
    score = node(f"score{index}", "VerifierScore", 420, images=images, **given, **rest)
    seen = {"images": Wire(score.name, "images")}
    title = "After the round" if index else "Drafts, best first"
    shown = node(f"seen{index}", "PreviewImage", TALL - 495, title, **seen)
    return stack(X[column], 0, WIDTHS[column], score, shown)


# Where a wire from the lanes rises to, in pixels below the top of a node.
RISES = {"images": 14, "prompt": 75, "verifier": 34, "writer": 34, "evolver": 34}
RISES |= {"flux": 14, "seed": 110}


def with_lanes(placed: Node, begun: Sequence[Node]) -> Node:
    """The node, its wires from further left than the next column led through the lanes."""
    at = {each.name: each for each in begun}
    inputs = dict(placed.inputs)
    for name, wire in inputs.items():
        if not isinstance(wire, Wire) or name not in LED or wire.source not in at:
            continue
        source = at[wire.source]
        if placed.at[0] - source.end[0] > 100 or name in ("prompt", "verifier", "seed"):
            inputs[name] = replace(wire, via=lane_of(name, wire, source, placed))
    return replace(placed, inputs=inputs)


def lane_of(name: str, wire: Wire, source: Node, target: Node) -> tuple[Point, ...]:
    number = LED.index(name)
    lane, left = LANES + LANE * number, source.end[0] + 15 + 9 * number
    right = target.at[0] - 80 + 10 * number
    rise = target.at[1] + RISES[name] + 20 * (target.kind == "CorrectorSampler" and name == "flux")
    start = (left, source_y(source, wire.output)), (left, lane)
    return (*start, (right, lane), (right, rise))
