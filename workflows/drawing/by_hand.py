"""The graph that is wired from the five nodes: a row for the drafts, and one for each round.

Wires that several nodes share run between the columns, and in lanes between the rows.
"""

from __future__ import annotations

from . import notes
from .canvas import GAP, TITLE, Graph, Group, Node, Wire, node, stack
from .parts import (
    BLUE,
    GREEN,
    LEFT,
    THREE,
    enlarged,
    flux,
    full_note,
    group_below,
    judges,
    named,
    read_me,
)

ROWS = (0, 640, 1300)  # y of the drafts and of each round
TEXTS, PAINTERS, JUDGES, PICTURES = 530, 990, 1420, 1840  # x of the columns
TALL = 470  # a row's nodes, from the first one's top to the last one's end
REWRITE = 250  # so far below its Reflection Writer a Prompt Evolver stands
REWRITES = [y + REWRITE for y in ROWS]

Places = dict[str, int]
# By what a wire carries: its x before a column, and its y above a row.
TO_TEXTS = {"flux": 393, "verifier": 408, "writer": 423, "evolver": 438, "prompt": 453}
TO_TEXTS |= {"reflections": 468, "images": 483, "verdicts": 498}
TO_PAINTERS = {"prompt": 885, "reflections": 885, "seed": 905, "flux": 930, "images": 955}
TO_JUDGES = {"prompt": 1360, "verifier": 1385}
TO_PICTURES = {"images": 1785, "verdicts": 1805}
TO_ROUND_1 = {"prompt": 430, "verifier": 452, "flux": 474, "images": 496, "verdicts": 518}
TO_ROUND_2 = {"images": 1145, "verdicts": 1167, "reflections": 1189}


def by_hand(dev: bool) -> Graph:
    read = read_me(full_note(dev, notes.BY_HAND), 380 if dev else 260)
    loaders = flux(dev)
    who = stack(LEFT, group_below(read), 320, *loaders, *judges())
    asked = stack(
        TEXTS,
        0,
        340,
        node("prompt", "PrimitiveStringMultiline", title="Prompt", value=THREE),
        node("seed", "PrimitiveInt", title="Seed", value=11),
    )
    rows = [drafts(dev, loaders[-1].name)]
    rows += [corrected(dev, loaders[-1].name, index) for index in (1, 2)]
    titles = ("Drafts", "Round 1", "Round 2")
    return Graph(
        named("by_hand", dev),
        [*read, *asked, *who, *(each for row in rows for each in row)],
        [
            Group("What to paint", BLUE, asked),
            Group("Who paints, judges, writes", BLUE, who),
            *(Group(title, GREEN, row) for title, row in zip(titles, rows, strict=True)),
        ],
        corner=(0, -80),
    )


def drafts(dev: bool, painter: str) -> list[Node]:
    draft = node(
        "drafts",
        "DraftSampler",
        flux=led(f"{painter} FLUX", "flux", 0, TO_ROUND_1, TO_TEXTS, TO_PAINTERS),
        prompt=Wire("prompt", "STRING"),
        count=2,
        seed=Wire("seed", "INT"),
        batch_size=1,
    )
    return [*stack(PAINTERS, 0, 340, draft), *judged(dev, 0, "drafts", "best first")]


def corrected(dev: bool, painter: str, index: int) -> list[Node]:
    """What to change in the pictures of the round before, a sharper prompt for each, and new
    pictures from both."""
    y, lanes = ROWS[index], (TO_ROUND_1, TO_ROUND_2)[index - 1]
    images, verdicts = f"score{index - 1} images", f"score{index - 1} verdicts"

    def asked(y: int) -> dict[str, Wire]:
        return {
            "prompt": led("prompt STRING", "prompt", y, TO_ROUND_1, TO_PAINTERS, TO_TEXTS),
            "images": led(images, "images", y, lanes, TO_PICTURES, TO_PAINTERS, TO_TEXTS),
            "verdicts": led(verdicts, "verdicts", y, lanes, TO_PICTURES, TO_TEXTS),
        }

    above, below = y, y + REWRITE
    write = node(
        f"write{index}",
        "ReflectionWriter",
        **asked(above),
        writer=led("writer writer", "writer", above, {}, TO_TEXTS),
    )
    evolve = node(
        f"evolve{index}",
        "PromptEvolver",
        **asked(below),
        evolver=led("evolver evolver", "evolver", below, {}, TO_TEXTS),
    )
    if index > 1:
        source = f"write{index - 1} reflections"
        evolve.inputs["reflections"] = led(
            source, "reflections", below, lanes, TO_PAINTERS, TO_TEXTS
        )
    correct = node(
        f"correct{index}",
        "CorrectorSampler",
        images=led(images, "images", y, lanes, TO_PICTURES, TO_PAINTERS),
        prompt=Wire(f"evolve{index}", "prompts"),
        reflections=Wire(f"write{index}", "reflections"),
        flux=led(f"{painter} FLUX", "flux", y, TO_ROUND_1, TO_TEXTS, TO_PAINTERS),
        seed=led("seed INT", "seed", y, {}, TO_PAINTERS),
        round=index,
        batch_size=1,
    )
    return [
        *stack(TEXTS, y, 340, write, evolve),
        *stack(PAINTERS, y, 340, correct),
        *judged(dev, index, f"correct{index}", "as given"),
    ]


def judged(dev: bool, index: int, painted: str, order: str) -> list[Node]:
    """The verdicts on a row's pictures, and the pictures."""
    y, tall = ROWS[index], TALL if index else 390
    score = node(
        f"score{index}",
        "VerifierScore",
        tall,
        images=Wire(painted, "images"),
        prompt=led("prompt STRING", "prompt", y, TO_ROUND_1, TO_PAINTERS, TO_JUDGES),
        verifier=led("verifier verifier", "verifier", y, TO_ROUND_1, TO_TEXTS, TO_JUDGES),
        order=order,
        keep=2,
    )
    large, images = enlarged(dev, Wire(f"score{index}", "images"), f"large{index}")
    title = f"After round {index}" if index else "Drafts, best first"
    tall -= sum(each.tall + GAP + TITLE for each in large)
    shown = node(f"seen{index}", "PreviewImage", tall, title, images=images)
    return [*stack(JUDGES, y, 340, score), *stack(PICTURES, y, 480, *large, shown)]


def led(source: str, name: str, y: int, lanes: Places, *gaps: Places) -> Wire:
    """A wire in its lane from gap to gap, and down the last of them to a node at y; all wires of
    one output share their points."""
    lane = lanes.get(name, 0)
    stops = {"writer": ROWS, "evolver": REWRITES, "reflections": REWRITES}
    others = sorted((*ROWS, *REWRITES)) if gaps[-1] is TO_TEXTS else ROWS
    first = lane or ROWS[1] - 1
    via = [(gap[name], lane) for gap in gaps if lane]
    via += [(gaps[-1][name], at + 10) for at in stops.get(name, others) if first < at <= y]
    return Wire(*source.split(), tuple(via))
