"""Critic: reflection writer, prompt evolver and stage inspector, all from one vision model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.protocols import SILENT, Progress
from ..reflectionflow_core.record import InputError, Request
from ..reflectionflow_core.registry import EVOLVERS, INSPECTORS, WRITERS, Row
from .shared.acting import actor_handle
from .shared.schema import output, schema
from .shared.sockets import (
    ActorHandle,
    EvolverSocket,
    InspectorSocket,
    VlmHandle,
    VlmSocket,
    WriterSocket,
)

AUTOMATIC = "automatic"
# With a vision model, and without one.
DEFAULTS = {
    "writer": ("vlm", "template"),
    "evolver": ("vlm", "rules"),
    "inspector": ("vlm", "exact"),
}
ROWS: Mapping[str, Mapping[str, Row[Any]]] = {
    "writer": WRITERS,
    "evolver": EVOLVERS,
    "inspector": INSPECTORS,
}


class Critic(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Critic",
            display_name="Critic",
            description="Says what is wrong with a picture, and rewrites prompts: writer, evolver "
            "and inspector of a search, all from one vision model.",
            search_aliases=["improve prompt", "feedback", "writer", "evolver", "inspector"],
            inputs=[
                VlmSocket.Input(
                    "vlm",
                    optional=True,
                    tooltip="From Vision model. Without one the critic repeats the judge's words, "
                    "and rewrites prompts about the miniature's shapes only.",
                ),
                VlmSocket.Input(
                    "text_model",
                    optional=True,
                    tooltip="Another vision model, which rewrites prompts instead of vlm.",
                ),
                role_input("writer", "Who says what to change. template repeats the judge's words"),
                role_input(
                    "evolver",
                    "Who rewrites the prompt. rules and layout understand the "
                    "miniature's shapes only",
                ),
                role_input("inspector", "Who looks at unfinished pictures, for strategy staged"),
            ],
            outputs=[
                output(WriterSocket, "writer", "Says what to change."),
                output(EvolverSocket, "evolver", "Rewrites the prompt."),
                output(InspectorSocket, "inspector", "Looks at unfinished pictures."),
            ],
        )

    @classmethod
    def execute(
        cls,
        writer: str = AUTOMATIC,
        evolver: str = AUTOMATIC,
        inspector: str = AUTOMATIC,
        vlm: VlmHandle | None = None,
        text_model: VlmHandle | None = None,
    ) -> io.NodeOutput:
        rewriting = role("evolver", evolver, text_model or vlm)
        if text_model is not None and not rewriting.vlms:
            raise InputError(
                f"The evolver {evolver} asks no model, but text_model is wired. Remove that wire, "
                f"or choose {AUTOMATIC}."
            )
        writing, inspecting = role("writer", writer, vlm), role("inspector", inspector, vlm)
        asking = (writing, inspecting) if text_model else (writing, rewriting, inspecting)
        if vlm is not None and not any(each.vlms for each in asking):
            raise InputError(
                f"No role of this Critic asks the model that is wired to vlm. Remove that wire, or "
                f"choose {AUTOMATIC} for writer, evolver or inspector."
            )
        return io.NodeOutput(writing, rewriting, inspecting)


def role_input(name: str, meaning: str) -> io.Input:
    asking, alone = DEFAULTS[name]
    return io.Combo.Input(
        name,
        options=[AUTOMATIC, *ROWS[name]],
        default=AUTOMATIC,
        optional=True,
        tooltip=f"{meaning}. {AUTOMATIC} is {asking} with a vision model, {alone} without.",
        extra_dict={"advanced": True},
    )


def role(kind: str, name: str, vlm: VlmHandle | None) -> ActorHandle:
    """The actor of a name; raises InputError if it needs a model and there is none."""
    asking, alone = DEFAULTS[kind]
    automatic = name == AUTOMATIC
    name = (alone if vlm is None else asking) if automatic else name
    rows = ROWS[kind]
    handle = actor_handle(rows, vlm if rows[name].asks_vlm else None, {kind: name})
    if automatic and name == "rules":
        return replace(handle, actor=RulesOrAsGiven(handle.actor))
    return handle


class RulesOrAsGiven:
    """Rewrites prompts that the rules understand, and leaves others unchanged."""

    calls = 0

    def __init__(self, rules: Any) -> None:
        self.rules = rules

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        try:
            return self.rules.evolve(prompt, requests, progress)
        except InputError:
            return [prompt] * len(requests)  # not about the miniature's shapes
