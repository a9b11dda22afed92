"""Object detectors of transformers behind one Protocol: Mask2Former, Grounding DINO, OWLv2.

They find things and know no rules; `rules.py` has those. A detector's `limits` say from which
score on its finds count: GenEval's own hold for Mask2Former trained on COCO, whose small Swin is
the nearest to the official detector. Those of the two open-vocabulary detectors are where their
authors' examples begin, not calibrated on anything. torchvision is not needed.
"""

from __future__ import annotations

import difflib
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
    GroundingDinoForObjectDetection,
    Mask2FormerForUniversalSegmentation,
    Owlv2ForObjectDetection,
)

from ..flux.folders import first_line, read_json
from ..flux.placement import Placement, Resident, device_named
from ..protocols import SILENT, Progress
from ..record import InputError
from ..vlm.folder import load_model, resolved
from .rules import OFFICIAL, Detection, Limits

LEAST = 0.05  # finds below this score are not worth handing on
GIVE = "Give the folder of a Mask2Former, Grounding DINO or OWLv2 as transformers saves it"
# GenEval's names of things that models trained on COCO may call otherwise.
_ALSO = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "couch": "sofa",
    "tv": "tvmonitor",
    "tv remote": "remote",
    "computer keyboard": "keyboard",
    "computer mouse": "mouse",
}


class Detector(Protocol):
    """Finds things of the given names in pictures."""

    limits: Limits

    def detect(
        self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]: ...


@dataclass(frozen=True, slots=True)
class Sight:
    """A model of transformers with its processor for pictures and, if it reads, for texts."""

    model: Any
    eyes: Any
    words: Any
    placement: Placement

    def look(self, image: Image, text: Mapping[str, Tensor] = MappingProxyType({})) -> Any:
        """What the model says of a picture, and the batch it was given."""
        device, dtype = self.placement.device, self.model.dtype
        batch = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in {**self.eyes(images=image, return_tensors="pt"), **text}.items()
        }
        return self.model(**batch), batch


Find = Callable[[Sight, Image, Sequence[str]], list[Detection]]


class PictureByPicture:
    """A Detector from a function that looks at one picture."""

    def __init__(self, sight: Sight, find: Find, limits: Limits) -> None:
        self.sight, self.find, self.limits = sight, find, limits

    def detect(
        self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        found: list[list[Detection]] = []
        for image in images if names else ():
            progress.check()
            with torch.no_grad(), self.sight.placement.on_device(self.sight.model):
                found.append(self.find(self.sight, image.convert("RGB"), names))
            progress.report("detect", len(found), len(images))
        return found or [[] for _ in images]


def load_detector(
    source: str | Path,
    *,
    limits: Limits | None = None,
    dtype: str = "fp32",
    device: str | torch.device | None = None,
    placement: Placement | None = None,
) -> PictureByPicture:
    """The detector in a folder or of a hub id, by the kind that its config.json names.

    Raises InputError for what is missing, damaged or no detector.
    """
    if dtype == "nf4":
        raise InputError("Detectors are small and are not loaded in nf4. Choose fp32 or bf16.")
    place, _ = resolved(source, GIVE)
    kind = _kind(place)
    if kind not in DETECTORS:
        raise InputError(f"{source} holds a {kind}, which is no detector known here. {GIVE}.")
    auto, find, usual, reads = DETECTORS[kind]
    target = device_named(device)
    model = load_model(auto, source, dtype, target, give=GIVE)
    sight = Sight(
        model,
        _processor(AutoImageProcessor, place),
        _processor(AutoTokenizer, place) if reads else None,
        placement or Resident(target),
    )
    return PictureByPicture(sight, find, limits or usual)


def _kind(place: str) -> str:
    if Path(place).is_dir():
        return str(read_json(Path(place) / "config.json")["model_type"])
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(place, trust_remote_code=False).model_type
    except (OSError, ValueError) as error:
        raise InputError(f"{place} could not be loaded: {first_line(error)} {GIVE}.") from error


def _processor(auto: Any, place: str) -> Any:
    local = Path(place).is_dir()
    try:
        return auto.from_pretrained(place, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"The processor in {place} could not be loaded: {first_line(error)} "
            "Download the folder again."
        ) from error


def mask2former(sight: Sight, image: Image, names: Sequence[str]) -> list[Detection]:
    """Instances with masks, of the classes that the model was trained on.

    An instance's score is its class probability times the mean confidence of its mask; a box is
    drawn around the mask, as GenEval's detector does.
    """
    classes = _classes(sight.model.config.id2label, names)
    given, batch = sight.look(image)
    seen = batch["pixel_mask"][0].bool()
    odds = given.class_queries_logits[0].float().softmax(-1)[:, classes]  # (queries, names)
    queries, which = (odds > LEAST).nonzero(as_tuple=True)
    found = []
    for query, name in zip(queries.tolist(), which.tolist(), strict=True):
        logits = given.masks_queries_logits[0, query][None, None].float()
        logits = functional.interpolate(logits, seen.shape, mode="bilinear")
        # The model sees the picture with a margin on the right and below.
        logits = logits[..., : int(seen.any(1).sum()), : int(seen.any(0).sum())]
        logits = functional.interpolate(logits, (image.height, image.width), mode="bilinear")
        found += _instance(names[int(name)], float(odds[query, name]), logits[0, 0])
    return found


def _classes(labels: Mapping[int, str], names: Sequence[str]) -> list[int]:
    """The model's numbers of the names; InputError where it was not taught one."""
    known = {_plain(label): int(index) for index, label in labels.items()}
    classes = []
    for name in names:
        words = next((w for w in (name, _ALSO.get(name, "")) if _plain(w) in known), None)
        if words is None:
            (near,) = difflib.get_close_matches(_plain(name), known, n=1, cutoff=0)
            raise InputError(
                f"The detector was not taught what {name!r} is. The nearest that it knows is "
                f"{near!r}; or choose one with an open vocabulary (Grounding DINO, OWLv2)."
            )
        classes.append(known[_plain(words)])
    return classes


def _plain(name: str) -> str:
    return "".join(name.lower().split())


def _instance(name: str, odds: float, logits: Tensor) -> list[Detection]:
    """The thing of a mask's logits (height, width), if there is any."""
    mask = logits > 0
    if not mask.any():
        return []
    score = odds * float(logits.sigmoid()[mask].mean())
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    left, top, right, bottom = (float(edge) for edge in box)
    return [Detection(name, score, (left, top, right, bottom), mask.cpu().numpy())]


def grounding_dino(sight: Sight, image: Image, names: Sequence[str]) -> list[Detection]:
    """Boxes for any names; a box's score for a name is the mean over the name's tokens."""
    text, tokens = _as_one_text(sight, names)
    given, _ = sight.look(image, text)
    odds = given.logits[0].float().sigmoid()  # (queries, tokens)
    scores = torch.stack([odds[:, some].mean(1) for some in tokens], 1)
    return _boxes(names, scores, given.pred_boxes[0], image.size)


def _as_one_text(sight: Sight, names: Sequence[str]) -> tuple[dict[str, Tensor], list[list[int]]]:
    """The names as one text, as the model was trained, and the tokens of each."""
    text = " ".join(f"{name.lower()}." for name in names)
    read = sight.words(text, return_tensors="pt", return_offsets_mapping=True)
    spans = read.pop("offset_mapping")[0].tolist()
    if len(spans) > sight.model.config.max_text_len:
        raise InputError(
            f"{len(names)} names are more than Grounding DINO reads at once. "
            "Ask for fewer kinds of things in one prompt."
        )
    tokens, start = [], 0
    for name in names:
        end = start + len(name)
        tokens.append([i for i, (a, b) in enumerate(spans) if start <= a < b <= end])
        start = end + len(". ")
    return dict(read), tokens


def owlv2(sight: Sight, image: Image, names: Sequence[str]) -> list[Detection]:
    """Boxes for any names."""
    longest = sight.model.config.text_config.max_position_embeddings
    text = sight.words(
        [f"a photo of a {name}" for name in names],
        padding="max_length",
        truncation=True,
        max_length=longest,
        return_tensors="pt",
    )
    given, _ = sight.look(image, {name: text[name] for name in ("input_ids", "attention_mask")})
    side = max(image.size)  # it sees the picture in the corner of a square
    return _boxes(names, given.logits[0].float().sigmoid(), given.pred_boxes[0], (side, side))


def _boxes(
    names: Sequence[str], scores: Tensor, boxes: Tensor, size: tuple[int, int]
) -> list[Detection]:
    """Things of (queries, names) scores and (queries, 4) boxes as centre and size, 0 to 1.

    A box is of the name that fits it best.
    """
    best, which = scores.max(1)
    width, height = size
    found = []
    for query in (best > LEAST).nonzero()[:, 0].tolist():
        x, y, w, h = boxes[query].float().tolist()
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        found.append(Detection(names[int(which[query])], float(best[query]), box))
    return found


DETECTORS: dict[str, tuple[Any, Find, Limits, bool]] = {
    "mask2former": (Mask2FormerForUniversalSegmentation, mask2former, OFFICIAL, False),
    "grounding-dino": (
        GroundingDinoForObjectDetection,
        grounding_dino,
        Limits(0.35, 0.35, 0.7),
        True,
    ),
    "owlv2": (Owlv2ForObjectDetection, owlv2, Limits(0.2, 0.2, 0.7), True),
}
