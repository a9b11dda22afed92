"""FLUX as ComfyUI loads it (MODEL, CLIP, VAE), its correctors, and the model that looks on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import files
from .canvas import Node, Wire, node
from .files import File


def flux_model(name: str = "model", file: File = files.FLUX, title: str = "") -> Node:
    given = {"unet_name": file["name"], "weight_dtype": "default"}
    return node(name, "UNETLoader", 0, title, [file], **given)


def flux_clip() -> Node:
    both = [files.CLIP_L, files.T5]
    names = {f"clip_name{index}": file["name"] for index, file in enumerate(both, 1)}
    return node("clip", "DualCLIPLoader", 0, "", both, **names, type="flux", device="default")


def flux_vae() -> Node:
    return node("vae", "VAELoader", 0, "", [files.VAE], vae_name=files.VAE["name"])


def parts() -> dict[str, Wire]:
    """MODEL, CLIP and VAE, each from the node that loads it."""
    return {name: Wire(name, name.upper()) for name in ("model", "clip", "vae")}


def corrector(model: Wire | None = None) -> Node:
    lora = files.CORRECTOR
    given = {"model": model or Wire("model", "MODEL"), "lora": lora["name"]}
    return node("corrector", "LoadCorrector", 0, "", [lora], **given)


def flux(model: str = "corrector", **changes: Any) -> Node:
    """FLUX for the search, with the MODEL of the node that is named."""
    given = {"width": 1024, "height": 1024, "steps": 30, "guidance": 3.5}
    rest = {"sampler": "euler", "scheduler": "as FLUX.1-dev"}
    seen = {"condition_size": 512, "condition_fit": "squash"}
    wires = parts() | {"model": Wire(model, "MODEL")}
    return node("flux", "FluxFromModel", **wires, **given | rest | seen | changes)


def edit_corrector(model: Mapping[str, Wire]) -> Node:
    """A model that edits, with the values of its own template."""
    numbers = {"steps": 0, "guidance": 0.0}
    names: dict[str, Any] = dict.fromkeys(("sampler", "scheduler"), "as its template")
    rest = {"cfg": 0.0, "shift": 0.0, "variant": "recognise"}
    return node(
        "edits", "EditCorrector", flux=Wire("flux", "FLUX"), **model, **numbers, **names, **rest
    )


def qwen() -> Node:
    """A vision-language model that ComfyUI loads as a text encoder."""
    given = {"clip_name": files.QWEN["name"], "type": "stable_diffusion", "device": "default"}
    return node("qwen", "CLIPLoader", 0, "Load CLIP: who looks on", [files.QWEN], **given)


def vision_of_comfyui(loader: str = "qwen") -> Node:
    given = {"source": "from ComfyUI's CLIP", "source.clip": Wire(loader, "CLIP")}
    return node("vlm", "VisionModel:clip", **given)


def vision_behind_a_server() -> Node:
    given = {"source.profile": "mine", "source.send_pictures": False, "source.refresh": 0}
    return node("vlm", "VisionModel:server", source="on a server", **given)
