"""The templates that search: the first look without a download, and searches on FLUX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import files, notes
from .canvas import App, Graph, Group, Node, Wire, node, stack
from .loaders import (
    corrector,
    edit_corrector,
    flux,
    flux_clip,
    flux_model,
    flux_vae,
    qwen,
    vision_behind_a_server,
    vision_of_comfyui,
)
from .notes import Notes
from .parts import (
    BLUE,
    GREEN,
    LANE,
    SLOT,
    STEP,
    TALL,
    THREE,
    bus,
    columns,
    critic,
    critics_wires,
    explained,
    loop,
    miniature,
    request,
    results,
    results_group,
    seeing_judge,
    shapes_judge,
    small_results,
    source_y,
)

CUPS = "two red cups to the left of a white plate, on a wooden table"
POSTER = 'a poster for a bakery that says "FRESH BREAD" above a loaf, in flat colours'
MANY = (
    CUPS,
    "a cat asleep on a stack of three books, by a window",
    "a blue bicycle to the right of a yellow door",
    "four candles on a round cake, in the dark",
)

SEARCH_APP = App(
    [("loop", name) for name in ("prompt", "width", "depth", "seed")], ["best", "trail"]
)


def first_look() -> Graph:
    name, title = "first_look", "1.1 Reflection, a first look without a download"
    left, middle, right = columns(300, 420, 560, wider={1: 40})
    who = stack(left, 0, 300, miniature(), shapes_judge(), critic(vlm=False))
    asked = request(THREE, 11, stop="when passed") | critics_wires("flux")
    searched = loop(middle, 420, depth=3, **bus(asked, who, "ReflectionLoop", 312))
    shown = small_results(name, right, 560)
    groups = [
        Group("1 · Who paints, judges, criticises", BLUE, who),
        Group("2 · The search", GREEN, searched),
        results_group(shown),
    ]
    graph = explained(name, title, notes.FIRST_LOOK, [*who, *searched, *shown], groups)
    return replace(graph, app=SEARCH_APP)


# ---------------------------------------------------------------- on FLUX

WIDTHS = (290, 300, 280, 380, 480)
WIDER = {1: 30, 3: 50}
SECOND = 365  # y of what stands below FLUX from MODEL, CLIP, VAE
EDITOR = 400  # y of an editing model below FLUX
JURY = 110  # y of the judge: the wire of FLUX passes above


def flux_search(
    name: str,
    title: str,
    words: Notes,
    jury: Sequence[Node],
    asked: dict[str, Any],
    seeing: Sequence[Node],
    loaders: Sequence[Node] = (),
) -> Graph:
    """A search on FLUX: `loaders` stand below FLUX's own, `seeing` below FLUX, the jury beside."""
    placed = who_searches(jury, seeing, loaders)
    return in_columns(name, title, words, *placed, asked, "Who paints, judges, criticises")


def in_columns(
    name: str,
    title: str,
    words: Notes,
    loaded: Sequence[Node],
    painting: Sequence[Node],
    judging: Sequence[Node],
    asked: dict[str, Any],
    actors: str,
) -> Graph:
    """A search on FLUX from its first three columns; `actors` names those who paint and judge."""
    c, d, e = columns(*WIDTHS, wider=WIDER)[2:]
    painters = [*painting, *judging]
    searched = loop(d, WIDTHS[3], **bus(asked, painters, "ReflectionLoop", c + WIDTHS[2] + 15))
    shown = results(name, e, WIDTHS[4])
    groups = [
        Group("1 · Models", BLUE, loaded),
        Group(f"2 · {actors}", BLUE, painters),
        Group("3 · The search", GREEN, searched),
        results_group(shown, 4),
    ]
    return explained(name, title, words, [*loaded, *painters, *searched, *shown], groups)


def who_searches(
    jury: Sequence[Node], seeing: Sequence[Node], loaders: Sequence[Node]
) -> tuple[list[Node], list[Node], list[Node]]:
    """The first three columns of a search on FLUX."""
    a, b, c = columns(*WIDTHS, wider=WIDER)[:3]
    own = [flux_model(), corrector(), flux_clip(), flux_vae()]
    loaded = stack(a, 0, WIDTHS[0], *own, *loaders)
    return loaded, painted(b, loaded, flux(), *seeing), stack(c, JURY, WIDTHS[2], *jury)


def painted(
    x: int,
    loaded: Sequence[Node],
    painter: Node,
    *seeing: Node,
    second: int = SECOND,
    lane: int = 3,
) -> list[Node]:
    """The painter, and below it who looks on, whose wires turn in that lane."""
    left = WIDTHS[0] + 15
    wired = bus(painter.inputs, loaded, painter.kind, left)
    placed = stack(x, 0, WIDTHS[1], replace(painter, inputs=wired))
    for below in stack(x, second, WIDTHS[1], *seeing):
        wired = bus(below.inputs, loaded, below.kind, left, below.at[1], lane)
        placed.append(replace(below, inputs=wired))
    return placed


def asked_of(prompt: Any, seed: int = 11, depth: int = 3, **changes: Any) -> dict[str, Any]:
    """The inputs of a search by all actors, which ends when a picture has passed."""
    given = request(prompt, seed, **{"strategy": "adaptive", "stop": "when passed"} | changes)
    return given | {"depth": depth} | critics_wires("flux")


def search() -> Graph:
    title = "2.1 Reflection, search until it is right"
    graph = watched("search", title, notes.SEARCH, seeing_judge(), asked_of(CUPS))
    return replace(graph, app=SEARCH_APP)


def watched(
    name: str, title: str, words: Notes, judge: Node, asked: dict[str, Any], *more: Node
) -> Graph:
    """A search with a vision model of ComfyUI's own."""
    jury = [judge, critic(), *more]
    return flux_search(name, title, words, jury, asked, [vision_of_comfyui()], [qwen()])


def server_search() -> Graph:
    title = "2.2 Reflection, search until it is right, judged by a server"
    jury, seeing = [seeing_judge(), critic()], [vision_behind_a_server()]
    return flux_search("server_search", title, notes.SERVER_SEARCH, jury, asked_of(CUPS), seeing)


def exact_words() -> Graph:
    title = "3.4 Reflection, a poster with exact words"
    judge = node("verifier", "Judge:written", judge="what is written")
    return watched("exact_words", title, notes.EXACT_WORDS, judge, asked_of(POSTER))


def staged() -> Graph:
    """The prompt's second wire, to the loop, runs below all else."""
    title = "3.3 Reflection, draw in stages"
    prompt = node("prompt", "PrimitiveStringMultiline", 110, "Prompt", value=CUPS)
    typed = Wire("prompt", "STRING")
    wired = {"vlm": Wire("vlm", "vlm"), "prompt": typed}
    planner = node("planner", "ScenePlanner", **wired, planner="vlm", own_plan="")
    b, c = columns(*WIDTHS, wider=WIDER)[1:3]
    lane, right = 850, c + WIDTHS[2] + 15 + 6 * LANE
    far = Wire("prompt", "STRING", ((b + WIDTHS[1] + 20, lane), (right, lane), (right, 190)))
    asked = asked_of(far, 7, 6, strategy="staged") | {"plan": Wire("planner", "plan")}
    asked |= {"inspector": Wire("critic", "inspector")}
    jury, seeing = [seeing_judge(), critic(), planner], [vision_of_comfyui(), prompt]
    return flux_search("staged", title, notes.STAGED, jury, asked, seeing, [qwen()])


def kontext() -> Graph:
    """The editor stands below FLUX, since it takes the same CLIP and VAE: wires to both cross."""
    name, title = "kontext", "3.2 Reflection, Kontext corrects"
    a, b, c, d, e = columns(290, 280, 300, 380, 430, wider={1: 30, 2: 20, 3: 50})
    own = [flux_model(), flux_model("kontext", files.KONTEXT, "Load Diffusion Model: the editor")]
    loaded = stack(a, 0, 290, *own, flux_clip(), flux_vae(), qwen())
    painting = painted(b, loaded, flux("model"))
    seeing = stack(b, loaded[-1].at[1], 280, vision_of_comfyui())
    aside = b + 280 + 20  # before the editor
    passing = {"kontext": 330, "clip": 350, "vae": 370}  # y below FLUX
    edits = edit_corrector(
        {
            "model": past("kontext", "MODEL", loaded, passing["kontext"], aside + 2 * LANE),
            "clip": past("clip", "CLIP", loaded, passing["clip"], aside + LANE),
            "vae": past("vae", "VAE", loaded, passing["vae"], aside),
        }
    )
    who = stack(c, EDITOR, 300, edits, seeing_judge(), critic())
    asked = asked_of(CUPS) | {"flux": Wire("edits", "FLUX")}
    searched = loop(d, 380, **bus(asked, who, "ReflectionLoop", c + 315))
    shown = results(name, e, 430)
    groups = [
        Group("1 · Models", BLUE, loaded),
        Group("2 · Who paints, corrects, judges, criticises", BLUE, [*painting, *seeing, *who]),
        Group("3 · The search", GREEN, searched),
        results_group(shown, 4),
    ]
    nodes = [*loaded, *painting, *seeing, *who, *searched, *shown]
    return explained(name, title, notes.KONTEXT, nodes, groups)


def past(name: str, output: str, loaded: Sequence[Node], lane: int, aside: int) -> Wire:
    """From a loader below FLUX to the editor: down or up to its lane, and on to the editor."""
    (source,) = (node for node in loaded if node.name == name)
    start, left = source_y(source, output), WIDTHS[0] + 15 + LANE * (name == "clip")
    slot = EDITOR + SLOT + STEP * (1 + ("kontext", "clip", "vae").index(name))
    left += 2 * LANE * (name == "vae")
    return Wire(name, output, ((left, start), (left, lane), (aside, lane), (aside, slot)))


def many_prompts() -> Graph:
    name, title = "many_prompts", "3.5 Reflection, many prompts with one budget"
    c, d, e = columns(*WIDTHS, wider=WIDER)[2:]
    jury = [seeing_judge(), critic()]
    loaded, painting, judging = who_searches(jury, [vision_of_comfyui()], [qwen()])
    wires = critics_wires("flux")
    sizes = {"budget": 16, "width": 1, "depth": 5, "drafts": 2, "seed": 11}
    ways = {"strategy": "adaptive", "stop": "when passed"}
    asked = {"prompts": "\n".join(MANY), **wires, **sizes, **ways}
    given = bus(asked, [*painting, *judging], "PromptBatch", c + WIDTHS[2] + 15)
    searched = stack(d, 0, WIDTHS[3], node("batch", "PromptBatch", TALL, **given))
    kept = {"images": Wire("batch", "best"), "filename_prefix": f"reflectionflow/{name}"}
    saved = node("best", "SaveImage", 330, "The best of each prompt", **kept)
    report = node("report", "PreviewAny", 410, "Which passed", source=Wire("batch", "report"))
    shown = stack(e, 0, WIDTHS[4], saved, report)
    groups = [
        Group("1 · Models", BLUE, loaded),
        Group("2 · Who paints, judges, criticises", BLUE, [*painting, *judging]),
        Group("3 · The prompts", GREEN, searched),
        results_group(shown, 4),
    ]
    nodes = [*loaded, *painting, *judging, *searched, *shown]
    return explained(name, title, notes.MANY_PROMPTS, nodes, groups)
