"""Vision model: an endpoint, a folder, or ComfyUI's own CLIP, by one choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.record import InputError
from .shared.choices import choice_input, chosen, inputs_of
from .shared.schema import schema
from .shared.wires import usable_inputs
from .vlm import VlmEndpoint, VlmFromClip, VlmLoader, vlm_output

# The loader behind each choice, and those of its inputs that the choice shows.
SOURCES: Mapping[str, tuple[type[io.ComfyNode], tuple[str, ...]]] = {
    "on this machine": (VlmLoader, ("model", "dtype", "max_pixels")),
    "on a server": (VlmEndpoint, ("profile", "send_pictures", "refresh")),
    "from ComfyUI's CLIP": (VlmFromClip, ("clip",)),
}


class VisionModelNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VisionModel",
            display_name="Vision model",
            description="A model that looks at pictures and writes about them, for Judge and "
            "Critic: a folder on this machine, a server, or a CLIP that writes.",
            search_aliases=["vlm", "llm", "qwen", "openai", "ollama", "lm studio", "vllm"],
            inputs=[
                choice_input(
                    "source",
                    {name: inputs_of(node, *shown) for name, (node, shown) in SOURCES.items()},
                    "Where the model is. On this machine: a folder below models. On a server: any "
                    "OpenAI-compatible one, by the name of its profile. From ComfyUI's CLIP: a "
                    "text encoder that ComfyUI has loaded and that can write.",
                )
            ],
            outputs=[vlm_output()],
        )

    @classmethod
    def validate_inputs(cls, source: Any = None, **_: Any) -> bool | str:
        try:
            loader, values = found(source)
            usable_inputs(loader, {k: v for k, v in values.items() if v is not None})
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, source: Any = None) -> str:
        loader, values = found(source)
        if "fingerprint_inputs" not in loader.__dict__:
            return ""
        return loader.fingerprint_inputs(**values)

    @classmethod
    def execute(cls, source: Any = None) -> io.NodeOutput:
        loader, values = found(source)
        return loader.execute(**values)


def found(source: Any) -> tuple[type[io.ComfyNode], dict[str, Any]]:
    """The loader of a choice, and what it is given; raises InputError for an unknown choice."""
    choice, values = chosen("source", source, SOURCES)
    return SOURCES[choice][0], values
