"""Graphs in ComfyUI's API format, built by name: what the tests of the node pack queue.

graph = loop_graph(depth=2, seed=7)     # nodes have speaking ids: graph["loop"], graph["flux"]
"""

from __future__ import annotations

from typing import Any

OURS = "ReflectionFlow_"
# Its three drafts of seed 12 fail, the first of round 1 passes, and its own correction fails.
PROMPT, SEED, DRAFTS = "a photo of a yellow circle and a purple square", 12, 3

Node = dict[str, Any]
Graph = dict[str, Node]
Link = list[Any]


def node(kind: str, **inputs: Any) -> Node:
    """A node of ours, or any other by its whole name."""
    return {"class_type": kind, "inputs": {k: v for k, v in inputs.items() if v is not None}}


def ours(kind: str, **inputs: Any) -> Node:
    return node(OURS + kind, **inputs)


def link(name: str, slot: int = 0) -> Link:
    return [name, slot]


def actor_nodes() -> Graph:
    """The miniature and who judges, writes and rewrites; a node takes `**WIRED`."""
    return {
        "flux": ours("FluxLoader", model="miniature", dtype="bf16"),
        "verifier": ours("VerifierLoader", verifier="exact", error=0.0),
        "writer": ours("WriterLoader", writer="template"),
        "evolver": ours("EvolverLoader", evolver="rules"),
    }


WIRED: dict[str, Link] = {name: link(name) for name in ("flux", "verifier", "writer", "evolver")}
REQUEST: dict[str, Any] = {
    "prompt": PROMPT,
    "width": 2,
    "drafts": DRAFTS,
    "seed": SEED,
    "strategy": "reflection",
    "stop": "never",
    "stop_score": 1.0,
    "save_run": False,
}
EXACT: dict[str, Any] = {"judge": "the miniature's shapes", "judge.error": 0.0}
OPTIONS: dict[str, Any] = {
    "noise_axis": True,
    "prompt_axis": True,
    "reflection_axis": True,
    "parents": "latest",
    "noise_search": "random",
    "radius": 0.3,
    "batch_size": 1,
    "max_images": 0,
    "max_vlm_calls": 0,
    "max_seconds": 0,
}


def sampling(flux: str = "flux", **changes: Any) -> Node:
    unchanged = {"width": 0, "height": 0, "steps": 0, "guidance": 0.0, "condition_size": 0}
    given = {**unchanged, "condition_fit": "squash", **changes}
    return ours("FluxSampling", flux=link(flux), **given)


def search_options(**changes: Any) -> Node:
    return ours("SearchOptions", **{**OPTIONS, **changes})


def shown(images: Link) -> Node:
    return node("PreviewImage", images=images)


def text_of(source: Link | str) -> Node:
    return node("PreviewAny", source=source)


def loop_graph(depth: int = 2, steps: int = 0, **changes: Any) -> Graph:
    """A Reflection Loop, node `loop`, and its outputs looked at: nodes best, images, report."""
    graph = actor_nodes()
    wires = dict(WIRED)
    if steps:
        graph["sampling"] = sampling(steps=steps)
        wires["flux"] = link("sampling")
    graph["loop"] = ours("ReflectionLoop", **{**wires, **REQUEST, "depth": depth, **changes})
    return {**graph, **results_of("loop")}


def menu_graph(judge: Node | None = None, depth: int = 2) -> Graph:
    """`loop_graph` with Judge and Critic, nodes `judge` and `critic`, in place of the loaders."""
    graph = loop_graph(depth=depth)
    for name in ("verifier", "writer", "evolver"):
        del graph[name]
    graph["judge"] = ours("Judge", **(judge or EXACT))
    graph["critic"] = ours("Critic")
    wires = {"verifier": link("judge"), "writer": link("critic"), "evolver": link("critic", 1)}
    graph["loop"]["inputs"] |= wires
    return graph


def watched(
    name: str, verifier: str = "checklist", writer: str = "vlm", evolver: str = "vlm", **loop: Any
) -> Graph:
    """A loop on the miniature whose verifier, writer and evolver share one endpoint."""
    graph = loop_graph(**{"depth": 1, **loop})
    graph["vlm"] = ours("VlmEndpoint", profile=name, refresh=0)
    graph["verifier"] = ours("VerifierLoader", verifier=verifier, error=0.0, vlm=link("vlm"))
    graph["writer"] = ours("WriterLoader", writer=writer, vlm=link("vlm"))
    graph["evolver"] = ours("EvolverLoader", evolver=evolver, vlm=link("vlm"))
    return graph


def results_of(name: str) -> Graph:
    """Looks at what a loop puts out."""
    return {
        "best": shown(link(name, 0)),
        "images": shown(link(name, 1)),
        "report": text_of(link(name, 2)),
    }


def drafts_graph(count: int = DRAFTS, prompt: str = PROMPT, **changes: Any) -> Graph:
    """Drafts, shown at node `images`."""
    graph = {"flux": actor_nodes()["flux"]}
    given = {"flux": link("flux"), "prompt": prompt, "count": count}
    given |= {"seed": SEED, "batch_size": 1}
    graph["drafts"] = ours("DraftSampler", **{**given, **changes})
    return {**graph, "images": shown(link("drafts"))}


def started(**changes: Any) -> Node:
    return ours("ReflectionStart", **{**REQUEST, **changes})


def rounds_by_hand(count: int, history: Link | None = None, **changes: Any) -> Graph:
    """A Reflection Start and `count` rounds behind it, node `round0` and so on."""
    graph = actor_nodes() | ({} if history else {"start": started(**changes)})
    last = history or link("start")
    for number in range(count):
        graph[f"round{number}"] = ours("ReflectionRound", history=last, **WIRED)
        last = link(f"round{number}")
    return graph


def trail_of(history: Link, save_run: bool = False) -> Graph:
    """A Reflection Trail and what it puts out: nodes trail, report, best, images."""
    return {
        "trail": ours("ReflectionTrail", history=history, save_run=save_run),
        "report": text_of(link("trail", 1)),
        "best": shown(link("trail", 2)),
        "images": shown(link("trail", 3)),
    }


def verbs_graph(
    width: int = 2, drafts: int = DRAFTS, rounds: int = 2, batch_size: int = 1
) -> Graph:
    """The search wired by hand from the five verbs; what each painted is at `images0`, and so on.

    The first verdicts sort the drafts and keep as many as there are chains; later ones leave every
    chain in its place.
    """
    graph = actor_nodes()
    graph["painted0"] = ours(
        "DraftSampler", flux=WIRED["flux"], prompt=PROMPT, count=drafts, seed=SEED, batch_size=1
    )
    graph["scored0"] = scored("painted0", order="best first", keep=width)
    for number in range(1, rounds + 1):
        graph |= corrected_round(number, batch_size)
    return graph | {f"images{n}": shown(link(f"painted{n}")) for n in range(rounds + 1)}


def scored(painted: str, order: str = "best first", keep: int = 0, prompt: str = PROMPT) -> Node:
    given = {"images": link(painted), "prompt": prompt, "verifier": link("verifier")}
    return ours("VerifierScore", **given, order=order, keep=keep)


def corrected_round(number: int, batch_size: int = 1) -> Graph:
    """Writer, evolver, corrector and verifier of one round, after `scored<number - 1>`."""
    before = f"scored{number - 1}"
    judged = {"images": link(before, 0), "prompt": PROMPT, "verdicts": link(before, 2)}
    earlier = link(f"reflect{number - 1}") if number > 1 else None
    return {
        f"reflect{number}": ours("ReflectionWriter", writer=WIRED["writer"], **judged),
        f"words{number}": ours(
            "PromptEvolver", evolver=WIRED["evolver"], reflections=earlier, **judged
        ),
        f"painted{number}": ours(
            "CorrectorSampler",
            images=link(before, 0),
            prompt=link(f"words{number}"),
            reflections=link(f"reflect{number}"),
            flux=WIRED["flux"],
            seed=SEED,
            round=number,
            batch_size=batch_size,
        ),
        f"scored{number}": scored(f"painted{number}", order="as given"),
    }
