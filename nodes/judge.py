"""Judge: a choice among all verifiers; each choice uses one of the verifier loaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.registry import VERIFIERS
from .loaders import VerifierLoader
from .shared.choices import asked, choice_input, chosen, inputs_of
from .shared.schema import output, schema
from .shared.sockets import VerifierSocket, VlmHandle, VlmSocket
from .shared.wires import usable_inputs, usable_value
from .verifiers import ClipScoreLoader, RewardLoader

ASKING = [name for name, row in VERIFIERS.items() if row.asks_vlm]


@dataclass(frozen=True, slots=True)
class JudgeRow:
    """A choice: its loader, the loader's fixed inputs, and the choice's own inputs.

    `renamed` are inputs that have another name in the loader.
    """

    loader: type[io.ComfyNode]
    inputs: Callable[[], list[io.Input]] = list
    fixed: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    needs_vlm: bool = False
    may_ask_vlm: bool = False

    @property
    def asks_vlm(self) -> bool:
        return self.needs_vlm or self.may_ask_vlm

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The loader's inputs; wired ones are missing before the graph runs."""
        named = {self.renamed.get(name, name): value for name, value in values.items()}
        return {**self.fixed, **{k: value for k, value in named.items() if value is not None}}


def seeing_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "method",
            options=ASKING,
            default="checklist",
            tooltip="checklist asks about each part of the prompt and says what is missing; yes-no "
            "asks one question and is fastest; rubric gives marks; tournament compares two "
            "pictures; yes-no-nvila is for NVILA-Lite-2B-Verifier.",
        ),
        *inputs_of(VerifierLoader, "ground"),
    ]


def miniature_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "error",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="The share of verdicts to flip, to test a search with a judge that makes "
            "mistakes.",
            extra_dict={"advanced": True},
        )
    ]


DETECTING = ("detector", "detection_model", "detection_clip")
ROWS = {
    "what a vision model sees": JudgeRow(
        VerifierLoader, seeing_inputs, {"error": 0.0}, {"method": "verifier"}, needs_vlm=True
    ),
    "what is there": JudgeRow(
        VerifierLoader,
        lambda: inputs_of(VerifierLoader, *DETECTING),
        {"verifier": "objects", "error": 0.0},
        may_ask_vlm=True,
    ),
    "what is written": JudgeRow(VerifierLoader, fixed={"verifier": "text", "error": 0.0}),
    "what is there and written": JudgeRow(
        VerifierLoader,
        lambda: inputs_of(VerifierLoader, *DETECTING),
        {"verifier": "objects+text", "error": 0.0},
        may_ask_vlm=True,
    ),
    "CLIP score": JudgeRow(ClipScoreLoader, lambda: inputs_of(ClipScoreLoader, "model")),
    "Image-Verifier": JudgeRow(RewardLoader, lambda: inputs_of(RewardLoader, "model", "base")),
    "the miniature's shapes": JudgeRow(
        VerifierLoader, miniature_inputs, {"verifier": "exact", "error": 0.0}
    ),
}
NO_VLM = (
    "This judge asks a vision model, and none is wired. Wire a Vision model into vlm, or choose "
    "another judge."
)


class Judge(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "Judge",
            display_name="Judge",
            description="Judges how well a picture shows what the prompt asks for. Every search "
            "needs one.",
            search_aliases=[
                "critic",
                "verifier",
                "prompt adherence",
                "pick best",
                "score",
                "reward",
            ],
            inputs=[
                VlmSocket.Input(
                    "vlm",
                    optional=True,
                    lazy=True,
                    tooltip="From Vision model. The judge 'What a vision model sees' needs it; "
                    "'What is there' may ask it about the rest of a prompt; other judges do not "
                    "use it.",
                ),
                choice_input(
                    "judge",
                    {name: row.inputs() for name, row in ROWS.items()},
                    "What the pictures are judged by. What a vision model sees: any prompt. What "
                    "is there: things, numbers, colours, places, by a detector. What is written: "
                    "the words in quotation marks. What is there and written: each need by the "
                    "one that sees it, the rest by the vision model if one is wired. CLIP score: a "
                    "fast impression. Image-Verifier: the paper's. The miniature's shapes: exact, "
                    "for the miniature only.",
                ),
            ],
            outputs=[output(VerifierSocket, "verifier", "For Reflection Loop, Verifier Score.")],
        )

    @classmethod
    def validate_inputs(cls, judge: Any = None, **wired: Any) -> bool | str:
        try:
            choice, values = chosen("judge", judge, ROWS)
        except InputError as error:
            return str(error)
        row = ROWS[choice]
        if row.needs_vlm and "vlm" not in wired:
            return NO_VLM
        return fine(row, values)

    @classmethod
    def fingerprint_inputs(cls, judge: Any = None, **_: Any) -> str:
        choice, values = chosen("judge", judge, ROWS)
        loader = ROWS[choice].loader
        return loader.fingerprint_inputs(
            **asked(loader.fingerprint_inputs, ROWS[choice].given(values))
        )

    @classmethod
    def check_lazy_status(cls, judge: Any = None, **wired: VlmHandle | None) -> list[str]:
        """The vision model only for a judge that asks it, so that no other loads it."""
        row = ROWS[judge["judge"][0]] if judge else JudgeRow(VerifierLoader)
        return [name for name, handle in wired.items() if handle is None and row.asks_vlm]

    @classmethod
    def execute(cls, judge: Any = None, vlm: VlmHandle | None = None) -> io.NodeOutput:
        choice, values = chosen("judge", judge, ROWS)
        row = ROWS[choice]
        given = row.given(values)
        if row.needs_vlm and vlm is None:
            raise InputError(NO_VLM)
        if vlm is not None and row.asks_vlm:
            given["vlm"] = vlm
        if "vlm" in given and given["verifier"] == "objects+text":
            given["verifier"] += "+checklist"  # which asks it about the rest of a prompt
        if given.get("error"):
            given["verifier"] = "noisy"
        return row.loader.execute(**given)


def fine(row: JudgeRow, values: Mapping[str, Any]) -> bool | str:
    """True, or what is wrong with the values, as far as they are known before the graph runs."""
    try:
        for known in row.inputs():
            if known.id in row.renamed and (value := values.get(known.id)) is not None:
                usable_value(known, False, value)
        usable_inputs(row.loader, row.given(values))
    except InputError as error:
        return str(error)
    return True
