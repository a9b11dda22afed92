"""ComfyUI's own detection nodes as a detector: RT-DETR with COCO's classes, SAM3 with any words.

Both run inside a search, on the MODEL that ComfyUI has loaded and under its memory management. Only
newer versions of ComfyUI have them, so they are looked up when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from PIL.Image import Image

from ...reflectionflow_core.detection.rules import Detection, DetectionLimits
from ...reflectionflow_core.detection.vocabulary import class_numbers
from ...reflectionflow_core.protocols import SILENT, Progress
from ...reflectionflow_core.record import InputError
from .tensors import to_batch

MIN_SCORE = 0.05  # detections below are dropped at once
MOST = 100  # detections of one picture
MOST_OF_A_WORD = 16  # as GenEval's rules count
LIMITS = DetectionLimits(0.5, 0.5, 0.7)  # of the nodes' own defaults; not calibrated


class CoreRtDetr:
    """RT-DETR as ComfyUI loads it; raises InputError for a ComfyUI or a MODEL without it."""

    limits = LIMITS

    def __init__(self, model: Any) -> None:
        _check_kind(model, "rt_detr", "RT-DETR")
        self.model, self.node = model, _node("nodes_rtdetr", "RTDETR_detect")
        labels: Sequence[str] = _module("comfy.ldm.rt_detr.rtdetr_v4").COCO_CLASSES
        self.vocabulary: Sequence[str] | None = tuple(labels)

    def detect(
        self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        labels = dict(enumerate(self.vocabulary or ()))
        numbers = class_numbers(labels, names)
        named = [(labels[number], name) for number, name in zip(numbers, names, strict=True)]
        found: list[list[Detection]] = []
        for image in images:
            progress.check()
            (boxes,) = self.node.execute(self.model, to_batch([image]), MIN_SCORE, "all", MOST).args
            pairs = [
                (box, name) for box in boxes[0] for label, name in named if box["label"] == label
            ]
            found.append([detection(box, name) for box, name in pairs])
            progress.report("detect", len(found), len(images))
        return found


class CoreSam3:
    """SAM3 as ComfyUI loads it, with its CLIP for words; raises InputError as CoreRtDetr."""

    limits = LIMITS
    vocabulary: Sequence[str] | None = None

    def __init__(self, model: Any, clip: Any) -> None:
        _check_kind(model, "sam3", "SAM3")
        self.model, self.clip = model, clip
        self.node = _node("nodes_sam3", "SAM3_Detect")

    def detect(
        self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        read = {name: self._read(name) for name in names}
        found: list[list[Detection]] = []
        for image in images:
            progress.check()
            found.append([each for name in names for each in self._found(image, name, read[name])])
            progress.report("detect", len(found), len(images))
        return found

    def _read(self, name: str) -> Any:
        # The number after a colon is how many things SAM3 gives back; one, without it.
        tokens = self.clip.tokenize(f"{name}:{MOST_OF_A_WORD}")
        return self.clip.encode_from_tokens_scheduled(tokens)

    def _found(self, image: Image, name: str, words: Any) -> list[Detection]:
        masks, boxes = self.node.execute(
            self.model,
            to_batch([image]),
            conditioning=words,
            threshold=MIN_SCORE,
            refine_iterations=0,
            individual_masks=True,
        ).args
        shapes = [mask.cpu().numpy() > 0 for mask in masks]
        return [detection(b, name, shape) for b, shape in zip(boxes[0], shapes, strict=True)]


def detection(box: dict[str, Any], name: str, mask: Any = None) -> Detection:
    """A BOUNDING_BOX of ComfyUI with a score, in pixels, as a Detection."""
    left, top = float(box["x"]), float(box["y"])
    edges = (left, top, left + float(box["width"]), top + float(box["height"]))
    return Detection(name, float(box.get("score", 1.0)), edges, mask)


def _node(module: str, name: str) -> Any:
    return getattr(_module(f"comfy_extras.{module}"), name)


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"This ComfyUI has no detector of its own ({error}). Update it, or choose a file or "
            "folder in detector."
        ) from error


def _check_kind(model: Any, kind: str, shown: str) -> None:
    inner = getattr(getattr(model, "model", None), "diffusion_model", None)
    if f".{kind}." not in f"{type(inner).__module__}.":
        raise InputError(
            f"detection_model is no {shown} ({type(inner).__name__}). Load an RT-DETR without "
            "detection_clip, or a SAM3 with the CLIP of its checkpoint in detection_clip."
        )
