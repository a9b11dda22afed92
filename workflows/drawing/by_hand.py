"""The graph that is wired from the five nodes: rounds from left to right, and lanes for the wires
that all rounds share, above and below their nodes."""

from __future__ import annotations

from collections.abc import Iterable

from . import notes
from .canvas import Graph, Group, Node, Note, Wire, node
from .parts import BLUE, GOLD, GREEN, THREE, enlarged, flux, full_note, judges, named, names

ROW = 510  # y of the nodes; the wires that all rounds share run in lanes above and below them
LANES = {"prompt": 345, "seed": 370, "flux": 395}
LANES |= {"reflections": 1105, "verifier": 1130, "writer": 1155, "evolver": 1180}
PITCH = 450  # from node to node
GAP = 60  # a lane is left and entered so far before a node


def by_hand(dev: bool) -> Graph:
    name = named("by_hand", dev)
    loaders, painter = flux(dev, 440, ROW - 40)
    rounds = [*drafts(painter), *reflected(0), *corrected(1, painter), *reflected(1)]
    rounds += corrected(2, painter)
    shown = ((0, "Drafts, best first"), (1, "After round 1"), (2, "After round 2"))
    return Graph(
        name,
        Note(full_note(dev, notes.BY_HAND), (column(0), -30), (790, 340)),
        (
            node("prompt", "PrimitiveStringMultiline", (440, 0), title="Prompt", value=THREE),
            node("seed", "PrimitiveInt", (440, 200), title="Seed", value=1),
            *loaders,
            *judges(440, ROW + 130, step=140),
            *rounds,
            *(each for i, title in shown for each in seen(dev, i, title)),
            node(
                "report",
                "PreviewAny",
                (column(8), ROW),
                (340, 440),
                title="Report on round 2",
                source=Wire("score2", "report"),
            ),
        ),
        (
            Group("What to paint", BLUE, ("prompt", "seed")),
            Group("Who paints, judges, writes", BLUE, (*names(loaders), "evolver")),
            Group("Drafts", GREEN, ("drafts", "write0", "evolve0")),
            Group("Round 1", GREEN, ("correct1", "write1", "evolve1")),
            Group("Round 2", GREEN, ("correct2", "score2")),
            Group("What came of it", GOLD, ("report",)),
        ),
    )


def column(index: int) -> int:
    return 900 + PITCH * index


def led(source: str, output: str, lane: str, target: int) -> Wire:
    """A wire in its lane up to a column; the points on the way it shares with others."""
    points = [(column(i) - GAP, LANES[lane]) for i in stops(lane) if i <= target]
    return Wire(source, output, tuple(points))


def stops(lane: str) -> Iterable[int]:
    """The columns at which wires leave a lane."""
    everywhere, painters, judging, texts = range(8), (0, 3, 6), (1, 4, 7), (2, 5)
    first = (0,)  # all enter there
    return {
        "prompt": everywhere,
        "seed": painters,
        "flux": painters,
        "verifier": (*first, *judging),
        "writer": (*first, *texts),
        "evolver": (*first, *texts),
        "reflections": (3, 5),
    }[lane]


def drafts(painter: str) -> list[Node]:
    return [
        node(
            "drafts",
            "DraftSampler",
            (column(0), ROW),
            flux=led(painter, "FLUX", "flux", 0),
            prompt=led("prompt", "STRING", "prompt", 0),
            count=2,
            seed=led("seed", "INT", "seed", 0),
            batch_size=1,
        ),
        score(0, "drafts", order="best first"),
    ]


def score(index: int, painted: str, order: str = "as given") -> Node:
    at = 3 * index + 1
    return node(
        f"score{index}",
        "VerifierScore",
        (column(at), ROW),
        images=Wire(painted, "images"),
        prompt=led("prompt", "STRING", "prompt", at),
        verifier=led("verifier", "verifier", "verifier", at),
        order=order,
        keep=2,
    )


def reflected(index: int) -> list[Node]:
    """What to change in the pictures of a round, and a sharper prompt for each."""
    at, scored = 3 * index + 2, f"score{index}"
    told = {"reflections": led("write0", "reflections", "reflections", at)} if index else {}
    return [
        node(
            f"write{index}",
            "ReflectionWriter",
            (column(at), ROW + 80),
            images=Wire(scored, "images"),
            prompt=led("prompt", "STRING", "prompt", at),
            writer=led("writer", "writer", "writer", at),
            verdicts=Wire(scored, "verdicts"),
        ),
        node(
            f"evolve{index}",
            "PromptEvolver",
            (column(at), ROW + 330),
            prompt=led("prompt", "STRING", "prompt", at),
            images=Wire(scored, "images"),
            evolver=led("evolver", "evolver", "evolver", at),
            verdicts=Wire(scored, "verdicts"),
            **told,
        ),
    ]


def corrected(index: int, painter: str) -> list[Node]:
    at, before = 3 * index, index - 1
    return [
        node(
            f"correct{index}",
            "CorrectorSampler",
            (column(at), ROW),
            images=Wire(f"score{before}", "images"),
            prompt=Wire(f"evolve{before}", "prompts"),
            reflections=Wire(f"write{before}", "reflections"),
            flux=led(painter, "FLUX", "flux", at),
            seed=led("seed", "INT", "seed", at),
            round=index,
            batch_size=1,
        ),
        score(index, f"correct{index}"),
    ]


def seen(dev: bool, index: int, title: str) -> list[Node]:
    """The pictures of a round, above its last nodes."""
    x, images = column(3 * index + 2), Wire(f"score{index}", "images")
    if dev:
        return [node(f"seen{index}", "PreviewImage", (x, -30), (790, 340), title, images=images)]
    large = Wire(f"large{index}", "IMAGE")
    return [
        enlarged(f"large{index}", (x, -30), images),
        node(f"seen{index}", "PreviewImage", (x + 360, -30), (430, 340), title, images=large),
    ]
