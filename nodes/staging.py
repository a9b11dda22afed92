"""The nodes for drawing in stages, with Reflection Loop or wired by hand: plan and inspect."""

from __future__ import annotations

import json
from dataclasses import asdict

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..reflectionflow_core.planners.text import as_text, from_text
from ..reflectionflow_core.record import InputError, Inspection, ScenePlan, Stage
from ..reflectionflow_core.registry import INSPECTORS, PLANNERS
from ..reflectionflow_core.report import inspection_text
from ..reflectionflow_core.settings import MAX_STAGES
from .comfy.tensors import to_pictures
from .loaders import vlm_input
from .shared.acting import actor_handle
from .shared.batches import ask_by_prompt, for_each, single
from .shared.judging import check_writers
from .shared.progress import NodeProgress, say
from .shared.schema import NO_PROMPT, check_texts, list_output, output, prompt_input, schema
from .shared.sockets import ActorHandle, InspectorSocket, PlanSocket, VlmHandle


class InspectorLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "InspectorLoader",
            display_name="Stage Inspector Loader",
            description="Loads an inspector, which compares unfinished pictures with their stage.",
            search_aliases=["staged", "inspect"],
            inputs=[
                io.Combo.Input(
                    "inspector",
                    options=list(INSPECTORS),
                    default="exact",
                    tooltip="exact reads the miniature's shapes by rules; vlm asks a "
                    "vision-language model, about any prompt.",
                ),
                vlm_input("vlm"),
            ],
            outputs=[output(InspectorSocket, "inspector", "Inspects.")],
        )

    @classmethod
    def execute(cls, inspector: str, vlm: VlmHandle | None = None) -> io.NodeOutput:
        return io.NodeOutput(actor_handle(INSPECTORS, vlm, {"inspector": inspector}))


class ScenePlanner(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ScenePlanner",
            display_name="Scene Planner",
            description="Plans how to draw a prompt in stages: what to add in each, and what the "
            "picture shows after it.",
            search_aliases=["staged", "scene graph", "step by step"],
            inputs=[
                prompt_input("What to paint, in your own words."),
                io.Combo.Input(
                    "planner",
                    options=list(PLANNERS),
                    default="rules",
                    tooltip="rules splits prompts about the miniature's shapes; vlm lets a model "
                    "plan any prompt. Both draw everything at once and then add what is missing; "
                    "the strict ones draw one thing after another.",
                ),
                vlm_input("vlm and vlm-strict"),
                io.String.Input(
                    "own_plan",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Your own plan instead of the planner's, in the format of the text "
                    "output: one line per stage, instruction → scene → what must be visible.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[
                output(PlanSocket, "plan", "For Reflection Loop or Stage Inspector."),
                output(io.String, "text", "The plan, one line per stage. Edit it in own_plan."),
                output(io.String, "scene", "The prompt of the first picture, for Draft Sampler."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None, own_plan: str | None = None) -> bool | str:
        fine = check_texts([prompt], empty=NO_PROMPT)
        return fine if fine is not True else check_texts([own_plan])

    @classmethod
    def execute(
        cls, prompt: str, planner: str, vlm: VlmHandle | None = None, own_plan: str = ""
    ) -> io.NodeOutput:
        plan = ScenePlan(from_text(own_plan))
        if not plan.stages:
            progress = NodeProgress(cls.hidden.unique_id)
            handle = actor_handle(PLANNERS, vlm, {"planner": planner})
            check_writers(handle, progress)
            plan = handle.actor.plan(prompt, progress)
        text = as_text(plan.stages)
        shown = "\n".join(filter(None, [plan.note, text]))
        say(cls.hidden.unique_id, shown)
        return io.NodeOutput(plan, text, plan.stages[0].scene, ui=ui.PreviewText(shown))


class StageInspector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "StageInspector",
            display_name="Stage Inspector",
            description="Compares unfinished pictures with a stage of the plan, and says what to "
            "draw or fix next. Things of later stages may be missing.",
            search_aliases=["staged", "inspect", "not drawn yet"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Pictures to inspect: a batch, or a list."),
                prompt_input(
                    "What the finished pictures must show: your own words, one text, or one for "
                    "each picture."
                ),
                PlanSocket.Input(
                    "plan", tooltip="From Scene Planner: one for all pictures, or one for each."
                ),
                InspectorSocket.Input("inspector", tooltip="From Stage Inspector Loader."),
                io.Int.Input(
                    "stage",
                    default=1,
                    min=1,
                    max=MAX_STAGES,
                    tooltip="The stage that the pictures have reached, from 1 on: one for all, or "
                    "one for each, from next_stage of the previous inspection.",
                ),
            ],
            outputs=[
                list_output(
                    io.Boolean, "accepted", "Whether each picture shows what its stage asks for."
                ),
                list_output(
                    io.String,
                    "instruction",
                    "For Corrector Sampler: how to fix the picture or, if it is accepted, what the "
                    "next stage adds; empty if everything is drawn.",
                ),
                list_output(io.String, "scene", "For Corrector Sampler: the scene after that."),
                list_output(
                    io.Int, "next_stage", "The stage that the picture has reached after that."
                ),
                output(
                    io.String,
                    "report",
                    "JSON: for every picture what is wrong, missing and still to come.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompt: list[str] | None = None) -> bool | str:
        return check_texts(prompt or [], empty=NO_PROMPT)

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        prompt: list[str],
        plan: list[ScenePlan],
        inspector: list[ActorHandle],
        stage: list[int],
    ) -> io.NodeOutput:
        pictures = to_pictures(images)
        count = len(pictures)
        plans = for_each(plan, count, "plan")
        reached = [number - 1 for number in for_each(stage, count, "stage")]
        for number, one in zip(reached, plans, strict=True):
            if number >= len(one.stages):
                raise InputError(
                    f"The plan has {len(one.stages)} stages, so there is no stage {number + 1}. "
                    "Choose a lower one."
                )
        inspect = single(inspector, "inspector").actor.inspect
        progress = NodeProgress(cls.hidden.unique_id)

        def ask(prompt: str, asked: list[tuple[Stage, Image.Image]]) -> list[Inspection]:
            return inspect(prompt, *map(list, zip(*asked, strict=True)), progress=progress)

        asked = [
            (one.stages[number], picture)
            for one, number, picture in zip(plans, reached, pictures, strict=True)
        ]
        answers = ask_by_prompt(ask, for_each(prompt, count, "prompt"), asked, "inspect")
        inspected = list(zip(reached, answers, strict=True))
        text = "\n".join(
            f"{i}: stage {number + 1}, {inspection_text(inspection)}"
            for i, (number, inspection) in enumerate(inspected, start=1)
        )
        say(cls.hidden.unique_id, text)
        steps = [next_instruction(*one) for one in zip(plans, reached, answers, strict=True)]
        report = [{"stage": number + 1, **asdict(inspection)} for number, inspection in inspected]
        return io.NodeOutput(
            [inspection.accepted for inspection in answers],
            [instruction for instruction, _ in steps],
            [one.stages[number].scene for one, (_, number) in zip(plans, steps, strict=True)],
            [number + 1 for _, number in steps],
            json.dumps(report, indent=2),
            ui=ui.PreviewText(text),
        )


def next_instruction(plan: ScenePlan, number: int, inspection: Inspection) -> tuple[str, int]:
    """The instruction for the corrector, and the stage that it leads to, from 0 on."""
    if inspection.refine:
        return inspection.refine, number
    last = number == len(plan.stages) - 1
    if last or (inspection.accepted and not inspection.later):
        return "", number
    return plan.stages[number + 1].instruction, number + 1


STAGING = [InspectorLoader, ScenePlanner, StageInspector]
