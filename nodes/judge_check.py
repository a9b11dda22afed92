"""Judge Check: tests a vision-language model before a search depends on it."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io, ui

from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.settings import MAX_SEED
from ..reflectionflow_core.vlm.judge_check import findings_text, objection, probe
from .shared.judging import checker, key_of, warn
from .shared.progress import NodeProgress
from .shared.schema import output, schema
from .shared.sockets import VlmHandle, VlmSocket


class JudgeCheck(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "JudgeCheck",
            display_name="Judge Check",
            description="Asks a vision-language model about plain pictures: whether it sees or is "
            "blind, thinks, gives probabilities, keeps to a schema, and how long it takes.",
            search_aliases=["doctor", "blind", "probe", "test vlm"],
            is_output_node=True,
            inputs=[
                VlmSocket.Input("vlm", tooltip="The vision-language model to ask."),
                io.Boolean.Input(
                    "insist",
                    default=False,
                    tooltip="Use the model even if it is blind or does not answer. Otherwise this "
                    "node fails, and so does a search with such a model.",
                ),
                io.Int.Input(
                    "refresh",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    tooltip="Change the number to ask again.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[
                output(VlmSocket, "vlm", "The same model, for the loaders."),
                output(io.String, "findings", "The results, one per line."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, vlm: VlmHandle, insist: bool, refresh: int) -> io.NodeOutput:
        del refresh
        found = probe(vlm.vlm, NodeProgress(cls.hidden.unique_id))
        why = objection(found)
        if why and not insist:
            raise InputError(f"{why} To use it all the same, switch insist on.")
        warn(why or checker(vlm).keep(key_of(vlm), found))
        text = f"{vlm.shown_name}\n{findings_text(found)}"
        return io.NodeOutput(replace(vlm, insists=insist), text, ui=ui.PreviewText(text))


JUDGES = [JudgeCheck]
