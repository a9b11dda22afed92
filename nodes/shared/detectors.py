"""What the Verifier Loader builds for `objects`, and the detectors that it can choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths

from ...reflectionflow_core.flux.folders import read_json
from ...reflectionflow_core.identity import digest, weights_of
from ...reflectionflow_core.record import InputError
from .model_files import model_folders
from .sockets import ActorHandle, VlmHandle

NO_DETECTOR = "(none)"
PLACES = "models/detection or models/onnx"
# The model types that transformers' detectors have in their config.json.
KINDS = ("mask2former", "rt_detr", "rt_detr_v2", "d_fine", "grounding-dino", "owlv2")


def detectors() -> dict[str, Path]:
    """Folders of transformers and ONNX files, by their path below a models folder."""
    places = [Path(folder_paths.models_dir) / name for name in ("detection", "onnx")]
    found = model_folders(places, _is_detector)
    for place in places:
        for file in sorted(place.rglob("*.onnx")):
            found.setdefault(file.relative_to(place).as_posix(), file)
    return found


def _is_detector(folder: Path) -> bool:
    try:
        data = read_json(folder / "config.json")
    except InputError:
        return False
    return isinstance(data, dict) and data.get("model_type") in KINDS


def objects_handle(
    detector: str, model: Any = None, clip: Any = None, vlm: VlmHandle | None = None
) -> ActorHandle:
    """The verifier `objects` on a detector's file or folder, or on ComfyUI's own.

    Raises InputError without a detector, and with two.
    """
    from ...reflectionflow_core.detection.examiner import Examiner
    from ...reflectionflow_core.detection.objects import ObjectsVerifier
    from ...reflectionflow_core.detection.pixel_colours import PixelColours

    chosen = detector != NO_DETECTOR
    if chosen == (model is not None) or (clip is not None and model is None):
        raise InputError(
            "The verifier objects needs one detector. Choose one in detector "
            f"(a file or folder in {PLACES}), or wire detection_model."
        )
    found, name, identity = _from_file(detector) if chosen else _of_comfyui(model, clip)
    actor = ObjectsVerifier(Examiner(found, PixelColours()), vlm.vlm if vlm else None)
    values = {"verifier": "objects", "detector": name}
    return ActorHandle(actor, values, (vlm,) if vlm else (), {"detector": identity})


def _from_file(detector: str) -> tuple[Any, str, str]:
    path = detectors().get(detector)
    if path is None:
        raise InputError(f"There is no detector {detector} in {PLACES}. Put it there.")
    if path.suffix.lower() == ".onnx":
        from ...reflectionflow_core.detection.onnx import load_onnx

        return load_onnx(path), f"onnx:{path}", weights_of(str(path))
    from ...reflectionflow_core.detection.detectors import load_detector
    from ..comfy.memory import ComfyPlacement

    loaded = load_detector(path, device="cpu", placement=ComfyPlacement())
    return loaded, str(path), digest(path)


def _of_comfyui(model: Any, clip: Any) -> tuple[Any, str, str]:
    from ..comfy.core_detection import CoreRtDetr, CoreSam3
    from ..comfy.digests import models_digest

    found = CoreRtDetr(model) if clip is None else CoreSam3(model, clip)
    name = "comfyui-rt-detr" if clip is None else "comfyui-sam3"
    return found, name, f"{name} {models_digest(*filter(None, (model, clip)))}"
