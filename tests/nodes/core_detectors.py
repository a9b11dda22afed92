"""ComfyUI's own RT-DETR and SAM3, of random weights, as our detectors see them; prints JSON.

    python tests/nodes/core_detectors.py COMFYUI PACK

Both have their true classes and are loaded from state dicts with their true names, as files are.
RT-DETR has its true size; SAM3 and its CLIP are narrow and have two layers. Biases are set so that
something is found.
"""

# ruff: noqa: I001
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import native_setup  # noqa: F401  (sets ComfyUI up, and must come first)
from comfy import model_detection
import comfy.ops
import comfy.sd
from comfy.ldm.rt_detr.rtdetr_v4 import COCO_CLASSES, RTv4
from comfy.ldm.sam3.detector import SAM3Model
from comfy.supported_models_base import ClipTarget
from comfy.text_encoders import sam3_clip
from pack.nodes.shared.detectors import NO_DETECTOR, objects_handle
from PIL import Image

PICTURE = Image.linear_gradient("L").resize((320, 200)).convert("RGB")
SMALL: dict[str, Any] = {
    **{"embed_dim": 64, "d_model": 64, "depth": 2, "global_att_blocks": (1,)},
    **{"mlp_ratio": 1.0, "num_queries": 20},
}


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """Random weights, small enough to pass through many layers."""
    torch.manual_seed(0)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not name.endswith(("running_var", "running_mean")):
            torch.nn.init.normal_(value, std=0.02)
        elif value.is_floating_point():
            torch.nn.init.constant_(value, float(name.endswith("running_var")))
    return module


def rt_detr() -> Any:
    """A MODEL from a state dict, as ComfyUI loads a file: every box is a cat, some a chair too."""
    state = filled(RTv4(operations=comfy.ops.disable_weight_init, dtype=torch.float32)).state_dict()
    for name, value in state.items():
        if "score_head" in name and name.endswith("bias") and value.shape == (80,):
            value.fill_(-6.0)
            value[COCO_CLASSES.index("cat")] = 1.0
            value[COCO_CLASSES.index("chair")] = -2.0
    model = comfy.sd.load_diffusion_model_state_dict(dict(state))
    assert model is not None, "ComfyUI does not recognise the state dict"
    return model


def judged(prompt: str, model: Any, clip: Any = None) -> dict[str, Any]:
    """The verdict of the verifier that the nodes build, what its detector found, and what
    ComfyUI's own node gave to that."""
    verifier = objects_handle(NO_DETECTOR, model, clip).actor
    detector = verifier.detector
    given: list[Any] = []
    found: list[Any] = []
    node, detect = detector.node, detector.detect

    def execute(*inputs: Any, **named: Any) -> Any:
        given.append(node.execute(*inputs, **named))
        return given[-1]

    def detected(*inputs: Any) -> Any:
        found.extend(detect(*inputs))
        return found

    detector.node, detector.detect = SimpleNamespace(execute=execute), detected
    (verdict,) = verifier.verify(prompt, [PICTURE])
    (output,), (things,) = given, found
    *masks, boxes = output.args
    return {
        "found": [[t.name, round(t.score, 5), *map(float, t.box)] for t in things],
        "own": [[b.get("label"), round(b["score"], 5), *edges(b)] for b in boxes[0]],
        "masks": [list(t.mask.shape) for t in things if t.mask is not None],
        "same masks": not masks
        or bool(
            all(
                (t.mask == (mask.numpy() > 0)).all()
                for t, mask in zip(things, masks[0], strict=True)
            )
        ),
        "seen": [each.text for each in verdict.evidence],
        "unmet": list(verdict.unmet),
    }


def edges(box: dict[str, float]) -> list[float]:
    return [box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]]


def sam3() -> Any:
    """A MODEL from a state dict, as ComfyUI loads a file, with SMALL in place of the true sizes."""
    given = {"operations": comfy.ops.disable_weight_init, "dtype": torch.float32}
    state = filled(SAM3Model(image_model="SAM3", **SMALL, **given)).state_dict()
    for name in ("hs_proj", "prompt_proj"):  # so that scores are about 0.8
        state[f"detector.dot_prod_scoring.{name}.bias"].fill_(0.4)
    known = model_detection.detect_unet_config
    model_detection.detect_unet_config = lambda *a, **k: {**known(*a, **k), **SMALL}
    try:
        model = comfy.sd.load_diffusion_model_state_dict(dict(state))
    finally:
        model_detection.detect_unet_config = known
    assert model is not None, "ComfyUI does not recognise the state dict"
    return model


def sam3_words() -> Any:
    """SAM3's own CLIP with its own tokens, two narrow layers of it."""
    small = {"hidden_size": SMALL["embed_dim"], "intermediate_size": 64, "num_hidden_layers": 2}
    sam3_clip.SAM3_CLIP_CONFIG |= small
    target = ClipTarget(sam3_clip.SAM3TokenizerWrapper, sam3_clip.SAM3ClipModelWrapper)
    clip = comfy.sd.CLIP(target)
    filled(clip.cond_stage_model)
    return clip


if __name__ == "__main__":
    with torch.no_grad():
        cases = {
            "rt-detr": judged("a cat and a chair, no dogs", rt_detr()),
            "sam3": judged("a zeppelin", sam3(), sam3_words()),
        }
        print(json.dumps(cases))  # noqa: T201
