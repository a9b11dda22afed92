"""The actors of a search by name, and how run.json records them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

from .flux.settings import ConditionSettings, SamplingSettings
from .record import InputError


@dataclass(frozen=True, slots=True)
class ActorChoice:
    """The actors of a search by name; None leaves a value to the model.

    All actors that need a vision-language model share `vlm`.
    """

    model: str = "miniature"
    transformer: str | None = None  # a file, in place of the one in a FLUX folder
    lora: str | None = None
    sampling: SamplingSettings | None = None
    condition: ConditionSettings | None = None  # how the corrector looks at a picture
    dtype: str | None = None
    device: str | None = None
    plan: str | None = None  # --offload: resident, phased or streamed
    verifier: str = "exact"  # several are joined with +; reward and clip-score as NAME:FOLDER
    verifier_error: float | None = None  # of the verifier noisy
    writer: str = "template"
    evolver: str = "rules"
    planner: str | None = None  # of a search in stages; None is "rules"
    inspector: str | None = None  # of a search in stages; None is "exact"
    thinker: str | None = None  # before the first picture; None is "vlm", or "layout" without one
    vlm: str | None = None  # "endpoint:PROFILE", the folder of a model, or its hub id
    max_words: int | None = None  # of a reflection
    gate: str | None = None  # a verifier that decides what passes, while the other one ranks
    screen: str | None = None  # a cheap verifier that chooses the pictures for the other one
    shortlist: int | None = None  # how many pictures of a batch it chooses; None is 2
    reward_base: str | None = None  # the model that the reward model was trained from
    reward_template: str | None = None  # its prompt template
    vlm_dtype: str | None = None  # of a model on this machine
    detector: str | None = None  # of the verifier objects: a folder, a hub id or onnx:FILE
    colour_judge: str | None = None  # the CLIP that names its colours; None: a vote of pixels
    ground: bool | None = None  # the checklist asks where faults are
    edit_model: str | None = None  # an editing pipeline of diffusers, as the corrector
    edit_steps: int | None = None
    edit_guidance: float | None = None
    plugins: Sequence[str] = ()  # files that add rows to the tables below

    def given(self, *names: str) -> dict[str, Any]:
        """The values of `names` that are not None, so that defaults hold for the others."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


# A choice as run.json records it: flat, None where a value is left to the model. Fields in LATER
# are recorded only if they differ from the value there, so that older runs still resume.
PAINTING = ("size", "steps", "guidance", "condition_size", "condition_fit", "prompt_style")
LATER: dict[str, Any] = {
    "prompt_style": ConditionSettings().prompt_style,
    "detector": None,
    "colour_judge": None,
    "ground": None,
    "screen": None,
    "shortlist": None,
    "edit_model": None,
    "edit_steps": None,
    "edit_guidance": None,
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


def check_judges(choice: ActorChoice, verifiers: Collection[str]) -> None:
    """Raises InputError for options without effect on these `verifiers`, given by name."""
    if choice.verifier_error and {*verifiers} == {"exact"}:
        raise InputError(
            "The exact verifier makes no errors. "
            "Choose --verifier noisy with --verifier-error, or leave the error out."
        )
    for option, owner in (
        ("ground", "checklist"),
        ("detector", "objects"),
        ("colour_judge", "objects"),
    ):
        if getattr(choice, option) and owner not in verifiers:
            raise InputError(
                f"--{option.replace('_', '-')} has no effect without the verifier {owner}. "
                f"Choose --verifier {owner}, or leave it out."
            )
    if choice.shortlist is not None and choice.screen is None:
        raise InputError(
            "--shortlist has no effect without --screen. Give a screen, or leave it out."
        )


def check_editing(choice: ActorChoice) -> None:
    """Raises InputError for options of an editing model without effect."""
    for option in ("edit_steps", "edit_guidance"):
        if getattr(choice, option) is not None and choice.edit_model is None:
            raise InputError(
                f"--{option.replace('_', '-')} has no effect without --edit-model. Give an "
                "editing model, or leave it out."
            )
    if choice.edit_model is not None and choice.lora is not None:
        raise InputError("--edit-model and --lora are both correctors. Leave one of them out.")
