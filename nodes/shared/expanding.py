"""What a Reflection Loop expands into, round by round."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from .schema import PREFIX

ACTORS = ("flux", "verifier", "writer", "evolver", "inspector")


@dataclass(frozen=True)
class PauseChoice:
    """Whether a person is asked after a round, and for how many seconds."""

    ask_me: bool
    ask_seconds: int


def next_step(
    graph: GraphBuilder, history: Any, number: int, depth: int, links: dict, asking: PauseChoice
) -> io.NodeOutput:
    """Round `number`, a pause if requested, and a ReflectionStep that decides whether to continue.

    Without a pause the step is the same as in earlier versions, so that ComfyUI's cache still has
    it.
    """
    wires = {name: links[name] for name in ACTORS if name in links}
    after = graph.node(f"{PREFIX}ReflectionRound", id="round", history=history, **wires).out(0)
    told = asdict(asking) if asking.ask_me else {}
    if asking.ask_me:
        given = {"seconds": asking.ask_seconds, "last": number >= depth}
        kind = f"{PREFIX}ReflectionPause"
        after = graph.node(kind, id="pause", history=after, **given, **wires).out(0)
    last = graph.node(
        f"{PREFIX}ReflectionStep", id="step", history=after, depth=depth, **told, **wires
    )
    return io.NodeOutput(*(last.out(i) for i in range(4)), expand=graph.finalize())
