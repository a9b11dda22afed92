"""Object detectors of transformers behind one Protocol.

Mask2Former, RT-DETR and D-FINE detect the classes of their training, Grounding DINO and OWLv2 any
words. They find objects; `rules.py` decides what counts, using the detector's `limits` (lowest
scores). GenEval's limits are for Mask2Former trained on COCO, whose small Swin version is nearest
to the official detector. Those of the others are from their authors' examples and not calibrated.
torchvision is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    DFineForObjectDetection,
    GroundingDinoForObjectDetection,
    Mask2FormerForUniversalSegmentation,
    Owlv2ForObjectDetection,
    RTDetrForObjectDetection,
    RTDetrV2ForObjectDetection,
)

from ..flux.folders import first_line, read_json
from ..flux.placement import Placement, Resident, device_named
from ..pictures import to_rgb
from ..protocols import SILENT, Progress
from ..record import InputError
from ..vlm.folder import load_model, resolved
from .rules import OFFICIAL, Detection, DetectionLimits
from .vocabulary import class_numbers

MIN_SCORE = 0.05  # lower scores are dropped at once
GIVE = (
    "Give the folder of a Mask2Former, RT-DETR, D-FINE, Grounding DINO or OWLv2 in transformers "
    "format"
)


class Detector(Protocol):
    """Finds objects by name. `vocabulary` lists the known names (None: any).

    `detect` raises InputError for unknown names.
    """

    limits: DetectionLimits

    @property
    def vocabulary(self) -> Sequence[str] | None: ...

    def detect(
        self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]: ...


@dataclass(frozen=True, slots=True)
class VisionModel:
    """A transformers model with its image processor and, if it reads text, its tokenizer."""

    model: Any
    image_processor: Any
    tokenizer: Any
    placement: Placement

    def forward(self, image: Image, text: Mapping[str, Tensor] = MappingProxyType({})) -> Any:
        """The model's output for a picture, and its input batch."""
        device, dtype = self.placement.device, self.model.dtype
        inputs = {**self.image_processor(images=image, return_tensors="pt"), **text}
        batch = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in inputs.items()
        }
        return self.model(**batch), batch


Find = Callable[[VisionModel, Image, Sequence[str]], list[Detection]]


class TransformersDetector:
    """A Detector built from a function for one picture."""

    def __init__(self, vision: VisionModel, find: Find, limits: DetectionLimits) -> None:
        self.vision, self.find, self.limits = vision, find, limits

    @property
    def vocabulary(self) -> Sequence[str] | None:
        return None if self.vision.tokenizer else tuple(self.vision.model.config.id2label.values())

    def detect(
        self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        found: list[list[Detection]] = []
        for image in images if names else ():
            progress.check()
            with torch.no_grad(), self.vision.placement.on_device(self.vision.model):
                found.append(self.find(self.vision, to_rgb(image), names))
            progress.report("detect", len(found), len(images))
        return found or [[] for _ in images]


def load_detector(
    source: str | Path,
    *,
    limits: DetectionLimits | None = None,
    dtype: str = "fp32",
    device: str | torch.device | None = None,
    placement: Placement | None = None,
) -> TransformersDetector:
    """The detector in a folder or at a hub ID, by the model type in its config.json.

    InputError if it is missing, damaged or not a detector.
    """
    if dtype == "nf4":
        raise InputError("Detectors cannot be loaded in nf4. Choose fp32 or bf16.")
    folder, _ = resolved(source, GIVE)
    kind = _kind(folder)
    if kind not in DETECTORS:
        raise InputError(f"{source} holds a {kind}, which is not a supported detector. {GIVE}.")
    auto, find, default_limits, reads_text = DETECTORS[kind]
    target = device_named(device)
    model = load_model(auto, source, dtype, target, give=GIVE)
    vision = VisionModel(
        model,
        _processor(AutoImageProcessor, folder),
        _processor(AutoTokenizer, folder) if reads_text else None,
        placement or Resident(target),
    )
    return TransformersDetector(vision, find, limits or default_limits)


def _kind(folder: str) -> str:
    if Path(folder).is_dir():
        return str(read_json(Path(folder) / "config.json")["model_type"])
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} could not be loaded: {first_line(error)} {GIVE}.") from error


def _processor(auto: Any, folder: str) -> Any:
    local = Path(folder).is_dir()
    try:
        return auto.from_pretrained(folder, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"The processor in {folder} could not be loaded: {first_line(error)} "
            "Download the folder again."
        ) from error


def mask2former(vision: VisionModel, image: Image, names: Sequence[str]) -> list[Detection]:
    """Objects with masks, of the classes of its training.

    The score is the class probability times the mean confidence of the mask; the box encloses the
    mask, as in GenEval.
    """
    classes = class_numbers(vision.model.config.id2label, names)
    given, batch = vision.forward(image)
    seen = batch["pixel_mask"][0].bool()
    probs = given.class_queries_logits[0].float().softmax(-1)[:, classes]  # (queries, names)
    queries, which = (probs > MIN_SCORE).nonzero(as_tuple=True)
    found = []
    for query, name in zip(queries.tolist(), which.tolist(), strict=True):
        logits = given.masks_queries_logits[0, query][None, None].float()
        logits = functional.interpolate(logits, seen.shape, mode="bilinear")
        # The picture is padded on the right and below.
        logits = logits[..., : int(seen.any(1).sum()), : int(seen.any(0).sum())]
        logits = functional.interpolate(logits, (image.height, image.width), mode="bilinear")
        found += _instance(names[int(name)], float(probs[query, name]), logits[0, 0])
    return found


def _instance(name: str, probs: float, logits: Tensor) -> list[Detection]:
    """The Detection for a mask's logits (height, width); no detection for an empty mask."""
    mask = logits > 0
    if not mask.any():
        return []
    score = probs * float(logits.sigmoid()[mask].mean())
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    left, top, right, bottom = (float(edge) for edge in box)
    return [Detection(name, score, (left, top, right, bottom), mask.cpu().numpy())]


def classes_and_boxes(vision: VisionModel, image: Image, names: Sequence[str]) -> list[Detection]:
    """Boxes of the classes that RT-DETR or D-FINE was trained on."""
    classes = class_numbers(vision.model.config.id2label, names)
    given, _ = vision.forward(image)
    scores = given.logits[0].float().sigmoid()[:, classes]  # (queries, names)
    return _boxes(names, scores, given.pred_boxes[0], image.size)


def grounding_dino(vision: VisionModel, image: Image, names: Sequence[str]) -> list[Detection]:
    """Boxes for any names; the score for a name is the mean over its tokens."""
    text, tokens = _as_one_text(vision, names)
    given, _ = vision.forward(image, text)
    probs = given.logits[0].float().sigmoid()  # (queries, tokens)
    scores = torch.stack([probs[:, some].mean(1) for some in tokens], 1)
    return _boxes(names, scores, given.pred_boxes[0], image.size)


def _as_one_text(
    vision: VisionModel, names: Sequence[str]
) -> tuple[dict[str, Tensor], list[list[int]]]:
    """The names as one text, as in the model's training, and the tokens of each."""
    text = " ".join(f"{name.lower()}." for name in names)
    read = vision.tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    spans = read.pop("offset_mapping")[0].tolist()
    if len(spans) > vision.model.config.max_text_len:
        raise InputError(
            f"{len(names)} names are too many for Grounding DINO. Ask for fewer kinds of objects "
            "in one prompt."
        )
    tokens, start = [], 0
    for name in names:
        end = start + len(name)
        tokens.append([i for i, (a, b) in enumerate(spans) if start <= a < b <= end])
        start = end + len(". ")
    return dict(read), tokens


def owlv2(vision: VisionModel, image: Image, names: Sequence[str]) -> list[Detection]:
    """Boxes for any names."""
    longest = vision.model.config.text_config.max_position_embeddings
    text = vision.tokenizer(
        [f"a photo of a {name}" for name in names],
        padding="max_length",
        truncation=True,
        max_length=longest,
        return_tensors="pt",
    )
    given, _ = vision.forward(image, {name: text[name] for name in ("input_ids", "attention_mask")})
    side = max(image.size)  # the picture is padded to a square
    return _boxes(names, given.logits[0].float().sigmoid(), given.pred_boxes[0], (side, side))


def _boxes(
    names: Sequence[str], scores: Tensor, boxes: Tensor, size: tuple[int, int]
) -> list[Detection]:
    """Detections from scores (queries, names) and boxes (queries, 4) as centre and size, 0 to 1.

    Each box gets the name with the highest score.
    """
    best, which = scores.max(1)
    width, height = size
    found = []
    for query in (best > MIN_SCORE).nonzero()[:, 0].tolist():
        x, y, w, h = boxes[query].float().tolist()
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        found.append(Detection(names[int(which[query])], float(best[query]), box))
    return found


_DETR_LIMITS = DetectionLimits(0.5, 0.5, 0.7)
DETECTORS: dict[str, tuple[Any, Find, DetectionLimits, bool]] = {
    "mask2former": (Mask2FormerForUniversalSegmentation, mask2former, OFFICIAL, False),
    "rt_detr": (RTDetrForObjectDetection, classes_and_boxes, _DETR_LIMITS, False),
    "rt_detr_v2": (RTDetrV2ForObjectDetection, classes_and_boxes, _DETR_LIMITS, False),
    "d_fine": (DFineForObjectDetection, classes_and_boxes, _DETR_LIMITS, False),
    "grounding-dino": (
        GroundingDinoForObjectDetection,
        grounding_dino,
        DetectionLimits(0.35, 0.35, 0.7),
        True,
    ),
    "owlv2": (Owlv2ForObjectDetection, owlv2, DetectionLimits(0.2, 0.2, 0.7), True),
}
