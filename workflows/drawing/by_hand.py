"""The graph that is wired from the five nodes: drafts, and one round beside them.

Wires that several nodes share run in lanes below all columns, and up before the nodes; there they
cross, and nowhere run behind a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import notes
from .canvas import GAP, TITLE, Graph, Group, Node, Point, Wire, node, stack
from .loaders import corrector, flux, flux_clip, flux_model, flux_vae, qwen, vision_of_comfyui
from .parts import (
    BLUE,
    GREEN,
    LANE,
    SLOT,
    STEP,
    THREE,
    columns,
    critic,
    explained,
    miniature,
    seeing_judge,
    shapes_judge,
    source_y,
)
from .searches import CUPS, painted

WIDTHS = (280, 270, 270, 270, 270, 270)
X = columns(*WIDTHS, wider=dict.fromkeys(range(1, 6), 25))
FLUX_WIDTHS = (290, 300, 260, 260, 260, 260)
FLUX_X = columns(*FLUX_WIDTHS, wider={1: 30, **dict.fromkeys(range(2, 6), 25)})
TALL = 830
EVOLVER = 400  # its y below the Reflection Writer
SHORT = 390  # a Draft Sampler or a Verifier Score that shares its column
LANES = 905  # y of the uppermost lane
# The wires in the lanes, from the uppermost on; the first turns furthest from a column.
LED = ("images", "prompt", "verifier", "writer", "evolver", "flux", "seed", "vlm")
SOURCES = {"images": "score0", "writer": "critic", "evolver": "critic"}
OUTPUTS = {"flux": "FLUX", "prompt": "STRING", "seed": "INT"}


def by_hand() -> Graph:
    name, title = "by_hand", "1.3 Reflection, the five nodes by hand without a download"
    who = stack(X[0], 0, WIDTHS[0], miniature(), shapes_judge(), critic(vlm=False))
    prompt = node("prompt", "PrimitiveStringMultiline", 90, "Prompt", value=THREE)
    seed = node("seed", "PrimitiveInt", title="Seed", value=11)
    asked = stack(X[0], who[-1].end[1] + 125, WIDTHS[0], prompt, seed)
    drafts = [*stack(X[1], 0, WIDTHS[1], draft()), *judged(2, 0, "drafts", "best first")]
    wrote = stack(X[3], 0, WIDTHS[3], write(EVOLVER - GAP - TITLE))
    evolved = stack(X[3], EVOLVER, WIDTHS[3], evolve(TALL - EVOLVER))
    corrected = stack(X[4], 0, WIDTHS[4], correct())
    a_round = [*wrote, *evolved, *corrected, *judged(5, 1, "correct", "as given")]
    begun = [*who, *asked, *drafts]
    groups = [
        Group("1 · Who paints, judges, criticises", BLUE, who),
        Group("2 · What to paint", BLUE, asked),
        Group("3 · Drafts: paint, judge", GREEN, drafts),
        Group(
            "4 · A round: say what to change, sharpen the prompt, correct, judge", GREEN, a_round
        ),
    ]
    led = [with_lanes(each, begun) for each in [*begun, *a_round]]
    return explained(name, title, notes.BY_HAND, led, groups)


def by_hand_on_flux() -> Graph:
    """Loaders take two columns, so the drafts are judged below one another, and the critic stands
    above those that it says something to."""
    name, title = "by_hand_flux", "3.7 Reflection, the five nodes by hand"
    a, b, c, d, e, _ = FLUX_X
    wide = FLUX_WIDTHS[2]
    loaders = [flux_model(), corrector(), flux_clip(), flux_vae(), qwen()]
    loaded = stack(a, 0, FLUX_WIDTHS[0], *loaders)
    prompt = node("prompt", "PrimitiveStringMultiline", 110, "Prompt", value=CUPS)
    who = painted(b, loaded, flux(), vision_of_comfyui(), seeing_judge(), prompt)
    drafts = stack(c, 0, wide, draft(SHORT, seed=11), score("drafts", 0, "best first", SHORT))
    said = stack(d, 0, wide, critic(), write(), evolve())
    said[-1] = replace(said[-1], inputs=around(said))
    corrected = stack(e, 0, wide, correct(seed=11))
    a_round = [*said, *corrected, *judged(5, 1, "correct", "as given", FLUX_X, FLUX_WIDTHS)]
    begun = [*loaded, *who, *drafts]
    groups = [
        Group("1 · Models", BLUE, loaded),
        Group("2 · Who paints and judges", BLUE, who),
        Group("3 · Drafts: paint, judge", GREEN, drafts),
        Group(
            "4 · A round: say what to change, sharpen the prompt, correct, judge", GREEN, a_round
        ),
    ]
    led = [with_lanes(each, begun) for each in [*begun, *a_round]]
    return explained(name, title, notes.BY_HAND_FLUX, led, groups)


def around(said: Sequence[Node]) -> dict[str, Any]:
    """The evolver's inputs, whose wire from the critic runs around the writer between them."""
    above, writer, evolver = said
    right, lane = above.end[0] + 20, writer.end[1] + GAP // 2
    slot = evolver.at[0] - 20, evolver.at[1] + SLOT + STEP
    start = right, source_y(above, "evolver")
    led = Wire("critic", "evolver", (start, (right, lane), (slot[0], lane), slot))
    return evolver.inputs | {"evolver": led}


def from_lane(name: str) -> Wire:
    return Wire(SOURCES.get(name, name), OUTPUTS.get(name, name))


def draft(tall: int = TALL, **typed: int) -> Node:
    """Two drafts; `typed` is what no wire brings."""
    given = {name: from_lane(name) for name in ("flux", "prompt", "seed")} | typed
    return node("drafts", "DraftSampler", tall, **given, count=2, batch_size=1)


def write(tall: int = 0) -> Node:
    """What to change in each draft."""
    return node("write", "ReflectionWriter", tall, **seen(), writer=from_lane("writer"))


def evolve(tall: int = 0) -> Node:
    """A sharper prompt for each draft."""
    return node("evolve", "PromptEvolver", tall, **seen(), evolver=from_lane("evolver"))


def seen() -> dict[str, Wire]:
    judged = {name: Wire("score0", name) for name in ("images", "verdicts")}
    return judged | {"prompt": from_lane("prompt")}


def correct(**typed: int) -> Node:
    given = {name: from_lane(name) for name in ("images", "flux", "seed")} | typed
    texts = {"prompt": Wire("evolve", "prompts"), "reflections": Wire("write", "reflections")}
    return node("correct", "CorrectorSampler", TALL, **given, **texts, round=1, batch_size=1)


def score(source: str, index: int, order: str, tall: int = 420) -> Node:
    given = {"images": Wire(source, "images")}
    given |= {name: from_lane(name) for name in ("prompt", "verifier")}
    return node(f"score{index}", "VerifierScore", tall, **given, order=order, keep=2)


def judged(
    column: int,
    index: int,
    source: str,
    order: str,
    x: Sequence[int] = X,
    widths: Sequence[int] = WIDTHS,
) -> list[Node]:
    """Pictures judged, and shown in the order of their scores or as they came."""
    scored = score(source, index, order)
    title = "After the round" if index else "Drafts, best first"
    images = Wire(scored.name, "images")
    shown = node(f"seen{index}", "PreviewImage", TALL - 495, title, images=images)
    return stack(x[column], 0, widths[column], scored, shown)


# Where a wire from the lanes rises to, in pixels below the top of a node.
RISES = {"images": 14, "prompt": 75, "verifier": 34, "writer": 34, "evolver": 34, "vlm": 14}
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
