"""ComfyUI's own RT-DETR and SAM3, of random weights, as our detectors see them; prints JSON.

    python tests/nodes/core_detectors.py COMFYUI PACK

RT-DETR has its true architecture and is loaded from a state dict with its true names. SAM3's is
cut down: its vision network is a stand-in, and the words are random numbers; all behind them is
ComfyUI's. Biases are set so that something is found.
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
import native_setup  # sets ComfyUI up, and must come first
import comfy.ops
import comfy.sd
from comfy.ldm.rt_detr.rtdetr_v4 import COCO_CLASSES, RTv4
from comfy.ldm.sam3.detector import SAM3Detector
from comfy_extras.nodes_rtdetr import RTDETR_detect
from comfy_extras.nodes_sam3 import SAM3_Detect
from pack.nodes.comfy.core_detection import CoreRtDetr, CoreSam3
from pack.nodes.comfy.tensors import to_batch
from PIL import Image

PICTURE = Image.linear_gradient("L").resize((320, 200)).convert("RGB")
WIDTH = 64  # of SAM3's features


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


def boxes_of(found: list[Any]) -> list[Any]:
    return [[thing.name, round(thing.score, 5), *map(float, thing.box)] for thing in found]


def rt_detr_case() -> dict[str, Any]:
    model = rt_detr()
    detector = CoreRtDetr(model)
    (found,) = detector.detect([PICTURE], ["cat", "dog", "chair"])
    (boxes,) = RTDETR_detect.execute(model, to_batch([PICTURE]), 0.05, "all", 100).args
    own = [
        [
            b["label"],
            round(b["score"], 5),
            b["x"],
            b["y"],
            b["x"] + b["width"],
            b["y"] + b["height"],
        ]
        for b in boxes[0]
    ]
    return {"found": boxes_of(found), "own": own, "vocabulary": list(detector.vocabulary or ())}


class Vision(torch.nn.Module):
    """In place of SAM3's vision network: features of three sizes, from the pixels' means."""

    multiplex = False

    def forward(self, images: torch.Tensor, **_: Any) -> tuple[Any, Any, None, None]:
        sides = (288, 144, 72, 36)
        scale = torch.linspace(0.5, 1.5, WIDTH)[None, :, None, None]
        small = [torch.nn.functional.adaptive_avg_pool2d(images, s).mean(1, True) for s in sides]
        features = [picture * scale for picture in small]
        return features, [torch.zeros_like(feature) for feature in features], None, None


class Words:
    """A CLIP whose words are random numbers, with how many things are wanted."""

    def tokenize(self, text: str) -> tuple[str, int]:
        word, _, most = text.partition(":")
        return word, int(most or 1)

    def encode_from_tokens_scheduled(self, tokens: tuple[str, int]) -> list[Any]:
        word, most = tokens
        generator = torch.Generator().manual_seed(len(word))
        words = torch.randn(1, 4, WIDTH, generator=generator)
        entry = {"cond": words, "attention_mask": torch.ones(1, 4), "max_detections": most}
        return [[words, {"sam3_multi_cond": [entry]}]]


def sam3() -> Any:
    net = object.__new__(SAM3Detector)
    torch.nn.Module.__init__(net)
    whole = SAM3Detector.__init__.__globals__
    given = {"d_model": WIDTH, "device": None, "dtype": torch.float32}
    given["operations"] = comfy.ops.disable_weight_init
    net.scalp = 1
    net.backbone = torch.nn.ModuleDict(
        {
            "vision_backbone": Vision(),
            "language_backbone": torch.nn.ModuleDict({"resizer": torch.nn.Identity()}),
        }
    )
    net.transformer = whole["Transformer"](num_queries=20, **given)
    for part, kind in (
        ("segmentation_head", "SegmentationHead"),
        ("geometry_encoder", "GeometryEncoder"),
        ("dot_prod_scoring", "DotProductScoring"),
    ):
        setattr(net, part, whole[kind](**given))
    filled(net)
    base = SimpleNamespace(diffusion_model=net, get_dtype=lambda: torch.float32)
    return SimpleNamespace(model=base)


def sam3_case() -> dict[str, Any]:
    native_setup.mm.load_model_gpu = lambda *_: None  # the stand-in is loaded
    model = sam3()
    detector = CoreSam3(model, Words())
    (found,) = detector.detect([PICTURE], ["cat", "zeppelin"])
    words = Words().encode_from_tokens_scheduled(("cat", 16))
    masks, boxes = SAM3_Detect.execute(
        model,
        to_batch([PICTURE]),
        conditioning=words,
        threshold=0.05,
        refine_iterations=0,
        individual_masks=True,
    ).args
    own = [
        ["cat", round(b["score"], 5), b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"]]
        for b in boxes[0]
    ]
    shapes = [list(thing.mask.shape) for thing in found]
    same = all(
        bool((thing.mask == (mask.numpy() > 0)).all())
        for thing, mask in zip([t for t in found if t.name == "cat"], masks, strict=True)
    )
    return {"found": boxes_of(found), "own": own, "masks": shapes, "same masks": same}


if __name__ == "__main__":
    with torch.no_grad():
        print(json.dumps({"rt-detr": rt_detr_case(), "sam3": sam3_case()}))  # noqa: T201
