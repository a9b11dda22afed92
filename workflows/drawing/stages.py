"""The graphs beyond the paper: drawing in stages, thinking before painting, remembering attempts.

What is to be painted stands in the left column, who paints and judges in the second; wires of the
first that go further run below the second.
"""

from __future__ import annotations

from typing import Any

from . import notes
from .canvas import GAP, KINDS, TITLE, Graph, Group, Node, Wire, node, stack
from .parts import (
    BLUE,
    GREEN,
    LEFT,
    actor_wires,
    enlarged,
    flux,
    full_note,
    group_below,
    judges,
    named,
    options,
    read_me,
    request,
    results,
    results_group,
    search,
    watchers,
)

CUPS = "two red cups to the left of a white plate, on a wooden table"
SELDOM = "a photo of a green square and a purple triangle"  # the miniature never saw such
BESIDE = "a photo of a blue square left of a yellow triangle"
PROMPT = Wire("prompt", "STRING")
VLM_WIRE = Wire("vlm", "vlm")
PROMPT_TALL = 90
FAR = {"prompt": (380, 1075), "plan": (395, 1095)}  # a wire's x right of its column, its lane's y


def staged_search(dev: bool) -> Graph:
    how = {"planner": "vlm", "vlm": VLM_WIRE} if dev else {"planner": "rules-strict"}
    planner = node("planner", "ScenePlanner", 250, prompt=PROMPT, **how, own_plan="")
    seen = {"inspector": "vlm", "vlm": VLM_WIRE} if dev else {"inspector": "exact"}
    inspector = node("inspector", "InspectorLoader", **seen)
    asked = request(led("prompt", "STRING"), 7, strategy="staged", stop="when passed")
    asked |= {"depth": 6, "plan": led("planner", "plan", "plan")}
    asked |= {"inspector": Wire("inspector", "inspector")}
    about, change = (notes.STAGED_SEARCH, notes.CHANGE_STAGED_SEARCH)
    return thought_out("staged_search", dev, about, change, [planner], [inspector], asked)


def interleaved(dev: bool) -> Graph:
    how = {"vlm": VLM_WIRE, "thinker": "vlm"} if dev else {"thinker": "layout"}
    think = node("think", "ThinkFirst", prompt=PROMPT, **how)
    finer = options(draft_prompt=Wire("think", "draft_prompt"))
    asked = request(led("prompt", "STRING"), 0, strategy="interleaved")
    asked |= {"depth": 1, "options": Wire("options", "options")}
    about, change = notes.INTERLEAVED, notes.CHANGE_INTERLEAVED
    return thought_out("interleaved", dev, about, change, [think], [finer], asked)


def in_context(dev: bool) -> Graph:
    asked = request(led("prompt", "STRING"), 2, strategy="in-context")
    asked |= {"depth": 3, "options": Wire("options", "options")}
    about, change = notes.IN_CONTEXT, notes.CHANGE_IN_CONTEXT
    return thought_out("in_context", dev, about, change, [], [options(parents="latest")], asked)


def thought_out(
    name: str,
    dev: bool,
    about: str,
    change: str,
    thought: list[Node],
    finer: list[Node],
    asked: dict[str, Any],
) -> Graph:
    """A search; the nodes `thought` take its prompt, and `finer` are wired to the loop."""
    sections = (notes.PROFILE, notes.CORRECTOR_FILES, notes.UNTESTED_VLM)
    text = notes.text(about, *sections) if dev else full_note(False, about)
    read = read_me(text, 536 if dev else 280)
    value = CUPS if dev else SELDOM if name == "interleaved" else BESIDE
    prompt = node("prompt", "PrimitiveStringMultiline", PROMPT_TALL, "Prompt", value=value)
    vlm_nodes = (
        [node("vlm", "VlmEndpoint", profile="mine", refresh=0, send_pictures=False)] if dev else []
    )
    top = group_below(read)
    for thinks in thought if dev else ():
        thinks.inputs["vlm"] = Wire("vlm", "vlm", past_prompt(top))
    what = stack(LEFT, top, 320, *vlm_nodes, prompt, *thought)
    loaders = flux(dev)
    jury = chosen(name, dev)
    who = stack(440, 0, 320, *loaders, *jury, *finer)
    wires = {seat.name: actor_wires(loaders[-1].name)[seat.name] for seat in jury}
    wires["flux"] = actor_wires(loaders[-1].name)["flux"]
    loop = search(840, change, 90, **asked, **wires)
    shown = results(dev, 1320, named(name, dev))
    return Graph(
        named(name, dev),
        [*read, *what, *who, *loop, *shown],
        [
            Group("1 · What to paint", BLUE, what),
            Group("Who paints, and who judges", BLUE, who),
            Group("2 · The search", GREEN, loop),
            results_group(shown),
        ],
    )


def chosen(name: str, dev: bool) -> list[Node]:
    """Verifier, writer and evolver; an interleaved search writes two lists and evolves nothing."""
    jury = watchers() if dev else judges()
    if name != "interleaved":
        return jury
    if dev:
        jury[1].inputs["writer"] = "two-lists"
    return jury[:2]


def past_prompt(top: int) -> tuple[tuple[int, int], ...]:
    """From the model at `top` to the node after next: left of the prompt between them."""
    below_vlm = top + KINDS["VlmEndpoint"].tall + GAP // 2
    below_prompt = below_vlm + PROMPT_TALL + GAP + TITLE
    return (LEFT + 330, below_vlm), (LEFT - 10, below_vlm), (LEFT - 10, below_prompt)


def led(source: str, output: str, lane: str = "prompt") -> Wire:
    """From the left column to the loop, below all that stands between."""
    x, y = FAR[lane]
    return Wire(source, output, ((x, y), (820 - (x - 380), y)))


def staged_by_hand() -> Graph:
    """Four columns, from the draft to the finished picture; what all need comes along below."""
    read = read_me(notes.text(notes.STAGED_BY_HAND, notes.MINIATURE), 300)
    inspector = node("inspector", "InspectorLoader", inspector="exact")
    what = stack(
        LEFT,
        group_below(read),
        320,
        node("prompt", "PrimitiveStringMultiline", 90, "Prompt", value=BESIDE),
        node("planner", "ScenePlanner", 270, prompt=PROMPT, planner="rules-strict", own_plan=""),
        *flux(False),
        inspector,
    )
    draft = {"flux": Wire("flux", "FLUX"), "prompt": Wire("planner", "scene"), "count": 2}
    first = node("draft", "DraftSampler", 390, "Stage 1", **draft, seed=11, batch_size=1)
    large, images = enlarged(False, Wire("draft", "images"), "large0")
    seen = node("seen0", "PreviewImage", 315, "Stage 1", images=images)
    columns = [stack(440, 0, 320, first, *large, seen)]
    for index in (1, 2):
        columns.append(next_stage(index, 440 + 420 * index))
    last = columns[-1]
    return Graph(
        "staged_by_hand_miniature",
        [*read, *what, *(each for column in columns for each in column)],
        [
            Group("1 · What to paint, and who does", BLUE, what),
            Group("2 · The first stage", GREEN, columns[0]),
            Group("Inspect, and draw on", GREEN, columns[1]),
            results_group(last),
        ],
    )


def next_stage(index: int, x: int) -> list[Node]:
    """An inspection, what it leads to, and the picture."""
    before = f"correct{index - 1}" if index > 1 else "draft"
    reached = Wire(f"inspect{index - 1}", "next_stage") if index > 1 else 1
    inspect = node(
        f"inspect{index}",
        "StageInspector",
        images=Wire(before, "images"),
        prompt=passed("prompt", "STRING", 0, index),
        plan=passed("planner", "plan", 1, index),
        inspector=passed("inspector", "inspector", 2, index),
        stage=reached,
    )
    correct = node(
        f"correct{index}",
        "CorrectorSampler",
        322,
        images=Wire(before, "images"),
        prompt=Wire(f"inspect{index}", "scene"),
        reflections=Wire(f"inspect{index}", "instruction"),
        flux=passed("flux", "FLUX", 3, index),
        seed=11,
        round=index,
        batch_size=1,
    )
    large, images = enlarged(False, Wire(f"correct{index}", "images"), f"large{index}")
    seen = node(f"seen{index}", "PreviewImage", 262, f"After correction {index}", images=images)
    return stack(x, 0, 340, inspect, correct, *large, seen)


def passed(source: str, output: str, lane: int, index: int) -> Wire:
    """From the left column below all others to a later one."""
    y, aside = 1075 + 20 * lane, 12 * lane
    stops = [(372 + aside, y), (785 + aside, y), (1222 + aside, y)]
    return Wire(source, output, tuple(stops[: index + 1]))
