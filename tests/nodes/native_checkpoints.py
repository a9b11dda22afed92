"""Run by ComfyUI's own Python: what the nodes make of models of true size, on the meta device.

    python native_checkpoints.py COMFYUI PACK

prints JSON: for each list of tests/checkpoints that this ComfyUI knows, its own name for the model,
whether the corrector takes it ("flux" or why not) and whether it can edit; and how many of the
published corrector's shapes fit FLUX.1.
"""

# ruff: noqa: T201
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportInvalidTypeForm=false
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from native_setup import Patcher, native_branch, native_lora, package  # isort: skip
import comfy.model_detection
import torch
from pack.nodes.comfy.edit_models import edit_model_of
from pack.reflectionflow_core.record import InputError

lists = package("checkpoints", Path(__file__).parents[1] / "checkpoints")
MODELS = ("flux1_dev", "flux1_dev_diffusers", "flux2_dev", "qwen_image", "z_image", "krea2")
TYPES = {"BF16": torch.bfloat16, "F32": torch.float32}


def meta(name: str) -> dict[str, torch.Tensor]:
    return {
        key: torch.empty(shape, dtype=TYPES[kind], device="meta")
        for key, (kind, shape) in lists.keys(name).items()
    }


def model_of(name: str) -> Patcher | None:
    """ComfyUI's model of a list; None where it knows none."""
    state = meta(name)
    config = comfy.model_detection.model_config_from_unet(state, "")
    if config is None:
        state = comfy.model_detection.convert_diffusers_mmdit(state, "")
        config = state and comfy.model_detection.model_config_from_unet(state, "")
    if not config:
        return None
    config.set_inference_dtype(torch.bfloat16, None)
    device = torch.device("meta")
    return Patcher(config.get_model(state, "", device=device), device, device)


def outcome(ask: Callable[[], Any], good: str) -> str:
    try:
        ask()
    except InputError as error:
        return str(error)
    return good


def main() -> None:
    found: dict[str, Any] = {}
    for name in MODELS:
        model = model_of(name)
        if model is None:
            found[name] = None
            continue
        found[name] = {
            "kind": type(model.model).__name__,
            "corrector": outcome(lambda m=model: native_branch.flux_of(m), "taken"),
            "editor": outcome(lambda m=model: edit_model_of(m), "taken"),
        }
    flux = model_of("flux1_dev")
    assert flux is not None
    shapes = native_lora.native_shapes(native_branch.flux_of(flux))
    published = lists.keys("flux1_corrector")
    found["corrector"] = {
        "linears": len(shapes),
        "fitting": sum(
            published[f"transformer.{path}.lora_A.weight"][1] == (32, inputs)
            and published[f"transformer.{path}.lora_B.weight"][1] == (outputs, 32)
            for path, (outputs, inputs) in shapes.items()
        ),
        "published": len(published) // 2,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
