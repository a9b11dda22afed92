"""What several graphs are made of.

The columns of a graph stand side by side with their first nodes at y 0; wires lead to the right.
The three notes stand in a row above them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from .canvas import GAP, HEADER, TITLE, Graph, Group, Node, Point, Wire, node, stack
from .files import LICENCE, VAE, links
from .kinds import KINDS, NOTE, pairs
from .notes import Notes

BLUE, GREEN, GOLD = "#3f789e", "#8A8", "#b58b2a"
BETWEEN = 60  # pixels from column to column
SLOT, STEP = 14, 20  # pixels from the top of a node to its first socket, and to the next
LANE = 14  # pixels between wires that run side by side
TALL = 850  # a search, and its result
THREE = "a photo of three red circles"  # seed 11: both drafts are wrong, and are fixed
SELDOM = "a photo of a green square and a purple triangle"  # the miniature never saw such
BESIDE = "a photo of a blue square left of a yellow triangle"
NO_FILES = "Nothing to download. The pack has all that this template needs."
UNTESTED = (
    "\nWe have not run this template with these weights yet. Our tests run it with small models in "
    "their place."
)


# ---------------------------------------------------------------- columns and notes


def columns(*widths: int, wider: Mapping[int, int] | None = None) -> list[int]:
    """The x of each column; before those of `wider` there are so many pixels more."""
    more = wider or {}
    steps = (width + BETWEEN + more.get(index, 0) for index, width in enumerate(widths, 1))
    return list(accumulate(steps, initial=0))[:-1]


def bus(
    wires: Mapping[str, Any],
    placed: Sequence[Node],
    kind: str,
    left: int,
    y: int = 0,
    lane: int = 0,
) -> dict[str, Any]:
    """Wires to the sockets of a node of that kind at y, side by side on their way up or down: each
    leaves its source level, and turns at its own x, from `left` and that number of lanes on."""
    at = {node.name: node for node in placed}
    sockets = [name for name, type_ in pairs(KINDS[kind].inputs) if type_]
    mine = [name for name in sockets if getattr(wires.get(name), "source", None) in at]
    led = {}
    down = all(at[wires[name].source].at[1] < y for name in mine)
    for number, name in enumerate(reversed(mine) if down else mine, lane):
        wire, x = wires[name], left + LANE * number
        ends = source_y(at[wire.source], wire.output), y + SLOT + STEP * sockets.index(name)
        led[name] = replace(wire, via=tuple((x, end) for end in ends))
    return dict(wires) | led


def around(source: Node, output: str, lane: int, y: int, margin: int = 10) -> Wire:
    """From a node to one in the same column: back on a lane above or below it, and there to y."""
    right, left = source.end[0] + 10, source.at[0] - margin
    start = (right, source_y(source, output)), (right, lane)
    return Wire(source.name, output, (*start, (left, lane), (left, y)))


def source_y(node: Node, output: str) -> int:
    """The y of a placed node's output socket."""
    names = [name for name, _ in pairs(KINDS[node.kind].outputs)]
    return node.at[1] + SLOT + STEP * names.index(output)


def below(above: Sequence[Node]) -> int:
    """Where a node below them stands."""
    return above[-1].end[1] + GAP + TITLE


def explained(
    name: str, title: str, notes: Notes, nodes: Sequence[Node], groups: Sequence[Group]
) -> Graph:
    """A template: the graph with its three notes in a row above it."""
    right = max(node.end[0] for node in nodes)
    width = (right - 2 * BETWEEN) // 3
    needs_files = any(node.models for node in nodes)
    texts = (
        ("does", "What it does", notes.does + UNTESTED * needs_files),
        ("links", "Model links", model_links(nodes, notes.links)),
        ("change", "What to change first", notes.change),
    )
    y = -notes.tall - HEADER - TITLE - GAP
    row = [
        replace(
            node(name, NOTE, notes.tall, title, text=text(words)),
            at=(index * (width + BETWEEN), y),
            width=width,
        )
        for index, (name, title, words) in enumerate(texts)
    ]
    return Graph(name, [*row, *nodes], groups, title=title)


def model_links(nodes: Iterable[Node], more: str) -> str:
    """What must be downloaded for these nodes, and where it belongs."""
    needed = {file["name"]: file for node in nodes for file in node.models}
    if not needed:
        return more or NO_FILES
    flux = VAE in needed.values()  # no other model has it from there
    licence = f"Accept the licence of [FLUX.1-dev]({LICENCE}) first." * flux
    return "\n\n".join(filter(None, [licence, links(needed.values()), more]))


def text(words: str) -> str:
    """Markdown with its lines unwrapped."""
    return re.sub(r"(?<!\n)\n(?!\n|- )", " ", words.strip()) + "\n"


# ---------------------------------------------------------------- nodes


def miniature() -> Node:
    return node("flux", "FluxLoader", model="miniature", dtype="bf16")


def shapes_judge() -> Node:
    given = {"judge": "the miniature's shapes", "judge.error": 0.0}
    return node("verifier", "Judge:shapes", **given)


def seeing_judge() -> Node:
    given = {
        "judge": "what a vision model sees",
        "judge.method": "checklist",
        "judge.ground": False,
    }
    return node("verifier", "Judge:seen", vlm=Wire("vlm", "vlm"), **given)


def critic(vlm: bool = True) -> Node:
    wired = {"vlm": Wire("vlm", "vlm")} if vlm else {}
    alone = dict.fromkeys(("writer", "evolver", "inspector"), "automatic")
    return node("critic", "Critic", **wired, **alone)


def actor_wires(painter: str, **via: Iterable[Point]) -> dict[str, Wire]:
    """The wires from all actors of a search, each from a node of its own."""
    sources = {"flux": (painter, "FLUX")}
    sources |= {name: (name, name) for name in ("verifier", "writer", "evolver")}
    return {name: Wire(*sources[name], tuple(via.get(name, ()))) for name in sources}


def critics_wires(painter: str) -> dict[str, Wire]:
    """The wires from all actors of a search, writer and evolver being a Critic's."""
    wires = actor_wires(painter)
    return wires | {name: Wire("critic", name) for name in ("writer", "evolver")}


ASKS_NOBODY = {"ask_me": False, "ask_seconds": 600}


def request(prompt: Any, seed: int, **changes: Any) -> dict[str, Any]:
    """The inputs of a loop without its depth."""
    given = {"prompt": prompt, "width": 2, "drafts": 0, "seed": seed, "strategy": "reflection"}
    return given | {"stop": "never", "stop_score": 1.0, "save_run": False} | ASKS_NOBODY | changes


def sampling(wire: Wire, **numbers: int) -> Node:
    """FLUX Sampling; 0 leaves a number to the model."""
    names = ("width", "height", "steps", "guidance", "condition_size")
    unchanged = dict.fromkeys(names, 0) | {"guidance": 0.0}
    return node(
        "sampling", "FluxSampling", flux=wire, **unchanged | numbers, condition_fit="squash"
    )


def options(**changes: Any) -> Node:
    axes = dict.fromkeys(("noise_axis", "prompt_axis", "reflection_axis"), True)
    unlimited = dict.fromkeys(("max_images", "max_vlm_calls", "max_seconds"), 0)
    finer = {"parents": "best", "noise_search": "random", "radius": 0.3, "batch_size": 1}
    given = {**axes, **finer, **unlimited, "draft_prompt": "", "max_steps": 0}
    given |= {"policy": "progress", "recheck": False, "context": 3}
    return node("options", "SearchOptions", **given | changes)


def enlarged(images: Wire, name: str = "large") -> Node:
    """The miniature's pictures, large enough to look at."""
    how = {"upscale_method": "lanczos", "scale_by": 6.0}
    return node(name, "ImageScaleBy", title="Enlarge, to look at", image=images, **how)


# ---------------------------------------------------------------- a search and its results


def loop(x: int, wide: int, **asked: Any) -> list[Node]:
    return stack(x, 0, wide, node("loop", "ReflectionLoop", TALL, **asked))


def results(name: str, x: int, width: int, best: int = 330) -> list[Node]:
    """The best picture of a search, and below it the contact sheet."""
    saved = stack(x, 0, width, the_best(name, Wire("loop", "best"), best))
    y = below(saved)
    return [*saved, *stack(x, y, width, trail(TALL - y))]


def small_results(name: str, x: int, width: int) -> list[Node]:
    """The contact sheet of a search of the miniature, and beside it the best picture, enlarged."""
    beside = x + width + BETWEEN
    # The first Nodes 2.0 make a node as tall as its picture is at the node's width.
    best = [enlarged(Wire("trail", "best")), the_best(name, Wire("large", "IMAGE"), 400)]
    return [*stack(x, 0, width, trail(TALL)), *stack(beside, 0, 270, *best)]


def the_best(name: str, picture: Wire, tall: int) -> Node:
    given = {"images": picture, "filename_prefix": f"reflectionflow/{name}"}
    return node("best", "SaveImage", tall, "The best", **given)


def trail(tall: int) -> Node:
    history = Wire("loop", "history")
    return node("trail", "ReflectionTrail", tall, history=history, save_run=False)


def results_group(members: Sequence[Node], number: int = 3) -> Group:
    return Group(f"{number} · Result", GOLD, members)
