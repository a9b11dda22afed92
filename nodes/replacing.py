"""Which new node stands for which old one, for a ComfyUI that can replace nodes.

ComfyUI replaces a node only where its type is missing, so old graphs keep their nodes. The page of
ComfyUI 0.33 leaves the inputs of a choice, whose names have a dot, as the new node sets them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from comfy_api.latest import io

from .shared.schema import PREFIX


@dataclass(frozen=True, slots=True)
class Replacement:
    """`inputs` are pairs of an old and a new input, `values` what new inputs are set to; `widgets`
    are the old inputs that saved workflows hold by position. The old node's only output becomes
    `output` of the new one."""

    old: str
    new: str
    widgets: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    output: int = 0

    def mapping(self) -> list[dict[str, Any]]:
        fixed = [{"new_id": name, "set_value": value} for name, value in self.values.items()]
        return [*fixed, *({"new_id": new, "old_id": old} for old, new in self.inputs)]


def chosen(choice: str, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Inputs of an old node as inputs of a choice of the new one."""
    return tuple((name, f"{choice}.{name}") for name in names)


def of_critic(old: str, role: str, output: int) -> Replacement:
    return Replacement(old, "Critic", (role,), ((role, role), ("vlm", "vlm")), output=output)


def of_choice(old: str, new: str, choice: str, value: str, *names: str) -> Replacement:
    return Replacement(old, new, names, chosen(choice, names), {choice: value})


# Verifier Loader is missing: which choice of Judge stands for it depends on what it is set to.
REPLACEMENTS = (
    of_critic("WriterLoader", "writer", 0),
    of_critic("EvolverLoader", "evolver", 1),
    of_critic("InspectorLoader", "inspector", 2),
    of_choice("ClipScoreLoader", "Judge", "judge", "CLIP score", "model"),
    of_choice("RewardLoader", "Judge", "judge", "Image-Verifier", "model", "base"),
    of_choice(
        "VlmLoader", "VisionModel", "source", "on this machine", "model", "dtype", "max_pixels"
    ),
    of_choice(
        "VlmEndpoint", "VisionModel", "source", "on a server", "profile", "refresh", "send_pictures"
    ),
    Replacement(
        "VlmFromClip",
        "VisionModel",
        inputs=chosen("source", ["clip"]),
        values={"source": "from ComfyUI's CLIP"},
    ),
)


async def register_replacements() -> None:
    """Tells ComfyUI, if it can replace nodes."""
    if not hasattr(io, "NodeReplace"):
        return
    from comfy_api.latest import ComfyAPI

    for one in REPLACEMENTS:
        replacement = io.NodeReplace(
            new_node_id=PREFIX + one.new,
            old_node_id=PREFIX + one.old,
            old_widget_ids=list(one.widgets),
            input_mapping=one.mapping(),
            output_mapping=[{"old_idx": 0, "new_idx": one.output}],
        )
        await ComfyAPI().node_replacement.register(replacement)
