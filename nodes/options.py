"""The finer settings of a search, apart from what everybody sets."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.record import AXES, MAX_CONTEXT, NOISE_SEARCHES, PARENTS, Budget
from ..reflectionflow_core.search import POLICIES
from .shared.schema import ROOT, batch_size_input, check_texts, schema
from .shared.sockets import OptionsSocket


class SearchOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def axis(name: str, what: str) -> io.Input:
            tooltip = f"Whether a round may {what}."
            return io.Boolean.Input(f"{name}_axis", default=True, tooltip=tooltip)

        def budget(name: str, what: str, most: int = 100_000, **how: Any) -> io.Input:
            return io.Int.Input(
                name,
                default=0,
                min=0,
                max=most,
                tooltip=f"{what} that the search may spend; 0 is no limit.",
                **how,
            )

        return schema(
            "SearchOptions",
            display_name="Search Options",
            category=f"{ROOT}/search",
            description="The finer settings of a search: its axes, parents, budgets.",
            search_aliases=["ablation", "budget", "axes"],
            inputs=[
                axis("noise", "take new noise; off, a picture keeps its parent's"),
                axis("prompt", "rewrite the prompt"),
                axis("reflection", "correct the picture that it goes on from"),
                io.Combo.Input(
                    "parents",
                    options=list(PARENTS),
                    default="latest",
                    tooltip="What each chain goes on from: its latest picture, as in the paper, or "
                    "its best so far. Strategy noise has no parents.",
                ),
                io.Combo.Input(
                    "noise_search",
                    options=list(NOISE_SEARCHES),
                    default="random",
                    tooltip="random takes new noise; zero_order looks near the noise that a round "
                    "improves on.",
                ),
                io.Float.Input(
                    "radius",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How far zero_order noise search looks: 0 stays, 1 is new noise.",
                ),
                batch_size_input(),
                budget("max_images", "Pictures"),
                budget("max_vlm_calls", "Calls of vision-language models"),
                budget("max_seconds", "Seconds of work"),
                io.String.Input(
                    "draft_prompt",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="What pictures without a parent are painted from, such as the text of "
                    "Think First; empty is your prompt. They are judged by your prompt.",
                    extra_dict={"advanced": True},
                ),
                budget(
                    "max_steps",
                    "Diffusion steps of all pictures together",
                    most=10_000_000,
                    optional=True,
                    extra_dict={"advanced": True},
                ),
                io.Combo.Input(
                    "policy",
                    options=list(POLICIES),
                    default="progress",
                    optional=True,
                    tooltip="Who decides in strategy adaptive: progress looks at the verdicts, "
                    "restart paints anew on a fixed schedule, steady only corrects.",
                    extra_dict={"advanced": True},
                ),
                io.Boolean.Input(
                    "recheck",
                    default=False,
                    optional=True,
                    tooltip="Ask of a corrected picture only what the one before it lacked, and "
                    "everything before it passes. Saves calls of the verifier checklist.",
                    extra_dict={"advanced": True},
                ),
                io.Int.Input(
                    "context",
                    default=3,
                    min=0,
                    max=MAX_CONTEXT,
                    optional=True,
                    tooltip="For strategy in-context: how many earlier pictures of its chain go "
                    "with each picture to whoever can look at several.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[
                OptionsSocket.Output(
                    "options", display_name="options", tooltip="For Loop or Start."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, draft_prompt: str | None = None) -> bool | str:
        return check_texts([draft_prompt])

    @classmethod
    def execute(
        cls,
        max_images: int,
        max_vlm_calls: int,
        max_seconds: int,
        draft_prompt: str = "",
        max_steps: int = 0,
        **given: Any,
    ) -> io.NodeOutput:
        axes = tuple(axis for axis in AXES if given.pop(f"{axis}_axis"))
        limits = Budget(
            max_images or None, max_vlm_calls or None, max_seconds or None, max_steps or None
        )
        drafts = draft_prompt if draft_prompt.strip() else None
        return io.NodeOutput({"axes": axes, "budget": limits, "draft_prompt": drafts, **given})
