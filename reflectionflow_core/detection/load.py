"""Builds the verifier `objects` for a named detector."""

from __future__ import annotations

from pathlib import Path

import torch

from ..flux.placement import device_named
from ..record import InputError
from ..vlm.interface import Vlm
from .colours import ColourReader, load_colours
from .detectors import Detector, load_detector
from .examiner import Examiner
from .objects import ObjectsVerifier
from .onnx import load_onnx
from .pixel_colours import PixelColours

ONNX = "onnx:"
NO_DETECTOR = (
    "The verifier objects needs a detector. Give the folder or hub ID of a Mask2Former, "
    "RT-DETR, D-FINE, Grounding DINO or OWLv2 with --detector, or onnx:FILE."
)


def load_objects(
    detector: str | None,
    colours: str | None = None,
    device: str | None = None,
    vlm: Vlm | None = None,
) -> ObjectsVerifier:
    """The verifier with the detector in a folder, at a hub ID or in "onnx:FILE".

    `colours` is the folder of a CLIP that reads colours; None reads them from pixels. ONNX files
    run on the CPU. InputError if something is missing or damaged.
    """
    if not detector:
        raise InputError(NO_DETECTOR)
    target = device_named(device)
    reads = _colour_reader(colours, target)
    if is_onnx(detector):
        return ObjectsVerifier(Examiner(load_onnx(detector.removeprefix(ONNX)), reads), vlm)

    def on_cpu() -> Examiner:
        cpu = torch.device("cpu")
        return Examiner(load_detector(detector, device=cpu), _colour_reader(colours, cpu))

    found: Detector = load_detector(detector, device=target)
    reference = None if target.type == "cpu" else on_cpu
    return ObjectsVerifier(Examiner(found, reads), vlm, reference, str(target))


def load_any(detector: str, device: str | None = None) -> Detector:
    """The detector in a folder, at a hub ID or in "onnx:FILE"; raises as `load_objects`."""
    if is_onnx(detector):
        return load_onnx(detector.removeprefix(ONNX))
    return load_detector(detector, device=device_named(device))


def is_onnx(detector: str) -> bool:
    return detector.startswith(ONNX) or Path(detector).suffix.lower() == ".onnx"


def _colour_reader(colours: str | None, device: torch.device) -> ColourReader:
    return load_colours(colours, device=device) if colours else PixelColours()
