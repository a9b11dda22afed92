"""Who acts in a search, by name, and how run.json keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from .flux.settings import ConditionSettings, SamplingSettings


@dataclass(frozen=True, slots=True)
class ActorChoice:
    """The actors of a search by name; None leaves a value to the model.

    `vlm` is the vision-language model that all actors that need one share.
    """

    model: str = "miniature"
    transformer: str | None = None  # a file, in place of the one in a FLUX folder
    lora: str | None = None
    sampling: SamplingSettings | None = None
    condition: ConditionSettings | None = None  # how the corrector looks at a picture
    dtype: str | None = None
    device: str | None = None
    plan: str | None = None  # where weights wait; --offload
    verifier: str = "exact"  # several are joined with +; reward and clip-score as NAME:FOLDER
    verifier_error: float | None = None  # of the verifier noisy
    writer: str = "template"
    evolver: str = "rules"
    planner: str | None = None  # of a search in stages; None is "rules"
    inspector: str | None = None  # of a search in stages; None is "exact"
    thinker: str | None = None  # before the first picture; None is "vlm", or "layout" without one
    vlm: str | None = None  # "endpoint:PROFILE", the folder of a model, or its hub id
    max_words: int | None = None  # of a reflection
    gate: str | None = None  # a verifier that says what passed, while the other one ranks
    reward_base: str | None = None  # the model that the reward was trained from
    reward_template: str | None = None  # the words around its prompt
    vlm_dtype: str | None = None  # of a model on this machine
    detector: str | None = None  # of the verifier objects: a folder, a hub id or onnx:FILE
    colour_judge: str | None = None  # the CLIP that reads its colours; None lets pixels vote
    ground: bool | None = None  # the checklist asks where faults are
    plugins: Sequence[str] = ()  # files that add rows to the tables below

    def given(self, *names: str) -> dict[str, Any]:
        """The values of `names` that are not None, so that defaults hold for the others."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


# A choice as run.json keeps it: flat, None where a value is left to the model. What is in LATER is
# recorded only where it is not the value there, so that older runs still resume.
PAINTING = ("size", "steps", "guidance", "condition_size", "condition_fit", "prompt_style")
LATER: dict[str, Any] = {
    "prompt_style": ConditionSettings().prompt_style,
    "detector": None,
    "colour_judge": None,
    "ground": None,
    "plugins": (),
}
RECORDED: dict[str, Any] = {
    name: default
    for name, default in {
        **{f.name: f.default for f in fields(ActorChoice)},
        **dict.fromkeys(PAINTING),
    }.items()
    if name not in ("sampling", "condition", *LATER)
}
