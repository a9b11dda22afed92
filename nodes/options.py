"""Search Options: the less common settings of a search."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.registry import choices_of
from ..reflectionflow_core.settings import AXES, RECOMMENDED, Budget, SearchSettings
from .shared.schema import batch_size_input, check_texts, output, schema
from .shared.sockets import OptionsSocket

# Settings that are inputs of Reflection Loop and Reflection Start.
REQUEST_SETTINGS = ("width", "depth", "drafts", "seed", "strategy", "stop", "stages", "mask")
# The first inputs of this node; later ones are appended, optional and advanced.
REQUIRED = (
    *(f"{axis}_axis" for axis in AXES),
    *("parents", "noise_search", "radius", "batch_size"),
    *("max_images", "max_vlm_calls", "max_seconds"),
)
AXIS_TEXTS = {
    "noise": "use new noise; if off, a picture keeps its parent's",
    "prompt": "rewrite the prompt",
    "reflection": "correct its parent picture",
}


class SearchOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "SearchOptions",
            display_name="Search Options",
            description="Less common settings of a search: axes, parents, budgets.",
            search_aliases=["ablation", "budget", "axes"],
            inputs=setting_inputs(),
            outputs=[output(OptionsSocket, "options", "For Loop or Start.")],
        )

    @classmethod
    def validate_inputs(cls, draft_prompt: str | None = None) -> bool | str:
        return check_texts([draft_prompt])

    @classmethod
    def execute(cls, draft_prompt: str = "", **given: Any) -> io.NodeOutput:
        axes = tuple(axis for axis in AXES if given.pop(f"{axis}_axis"))
        limits = {f.name: given.pop(f"max_{f.name}", 0) or None for f in fields(Budget)}
        drafts = draft_prompt if draft_prompt.strip() else None
        return io.NodeOutput(
            {"axes": axes, "budget": Budget(**limits), "draft_prompt": drafts, **given}
        )


def setting_inputs() -> list[io.Input]:
    """The inputs in the order of saved workflows."""
    inputs = [axis_input(axis) for axis in AXES]
    *limits, max_steps = map(limit_input, fields(Budget))
    for setting in fields(SearchSettings):
        if setting.name == "budget":
            inputs += limits
        elif setting.name not in (*REQUEST_SETTINGS, "axes"):
            inputs.append(setting_input(setting))
        if setting.name == "draft_prompt":
            inputs.append(max_steps)  # added after it
    return inputs


def axis_input(axis: str) -> io.Input:
    tooltip = f"Whether a round may {AXIS_TEXTS[axis]}."
    return io.Boolean.Input(f"{axis}_axis", default=True, tooltip=tooltip)


def limit_input(limit: Field[Any]) -> io.Input:
    name = f"max_{limit.name}"
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=limit.metadata.get("most", 100_000),
        tooltip=f"{limit.metadata['text'].capitalize()}; 0 means no limit.",
        **optional_if_later(name),
    )


def setting_input(setting: Field[Any]) -> io.Input:
    """The input of a setting, from its field's metadata."""
    name, about = setting.name, setting.metadata
    text, default = about["text"], getattr(RECOMMENDED, name)
    known = {"tooltip": f"{text[:1].upper()}{text[1:]}.", **optional_if_later(name)}
    if name == "batch_size":
        return batch_size_input()
    if options := choices_of(setting):
        return io.Combo.Input(name, options=list(options), default=default, **known)
    if setting.type == "bool":
        return io.Boolean.Input(name, default=default, **known)
    if setting.type in ("int", "float"):
        kind, step = (io.Int, {}) if setting.type == "int" else (io.Float, {"step": 0.01})
        limits = {"min": about["least"], "max": about["most"], **step}
        return kind.Input(name, default=default, **limits, **known)
    return io.String.Input(name, multiline=True, default=default or "", **known)


def optional_if_later(name: str) -> dict[str, Any]:
    """Inputs that were added later are optional, because saved workflows lack them."""
    return {} if name in REQUIRED else {"optional": True, "extra_dict": {"advanced": True}}
