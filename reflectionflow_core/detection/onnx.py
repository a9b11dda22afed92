"""Any detector in an ONNX file, with onnxruntime (the extra `detect`).

Next to FILE.onnx are its class names, one per line (FILE.names, or the only *.names of the folder),
unless the file contains them. FILE.json may set what is not recognised automatically.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..protocols import SILENT, Progress
from ..record import InputError
from ..texts import user_path
from .onnx_outputs import LAYOUTS, layout_of
from .rules import Detection, DetectionLimits
from .vocabulary import class_numbers

MIN_SCORE = 0.05  # lower scores are dropped at once
GREY = (114, 114, 114)  # grey of the letterbox margin, as in YOLO's training
DEFAULT_SIDE = 640  # input size of models that accept any size
INSTALL = (
    "An ONNX detector needs onnxruntime. Install it with this Python: pip install onnxruntime."
)


class OnnxSettings(BaseModel):
    """FILE.json next to FILE.onnx; None means the default of the outputs' layout."""

    model_config = ConfigDict(extra="forbid")

    layout: str | None = None  # one of LAYOUTS
    names: list[str] | None = None
    fit: Literal["squash", "letterbox"] | None = None
    channels: Literal["rgb", "bgr"] | None = None
    scale: Annotated[float, Field(gt=0)] = 255.0  # divisor for pixels of 0 to 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # subtracted afterwards
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    side: Annotated[int, Field(ge=16, le=8192)] | None = (
        None  # input side in pixels if the file does not fix it
    )
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    overlap: Annotated[float, Field(gt=0, le=1)] = (
        0.45  # boxes of one class that overlap more are duplicates
    )


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """An onnxruntime session and its input."""

    session: Any
    settings: OnnxSettings
    size: tuple[int, int]  # width and height of the input

    def run(self, image: Image.Image, fit: str, channels: str) -> dict[str, np.ndarray]:
        """The outputs for a picture by name, without their first dimension."""
        pixels = np.asarray(fitted(image, self.size, fit)[0], np.float32) / self.settings.scale
        pixels = (pixels - np.array(self.settings.mean)) / np.array(self.settings.std)
        pixels = pixels[..., ::-1] if channels == "bgr" else pixels
        first, *others = self.session.get_inputs()
        given: dict[str, np.ndarray] = {
            first.name: pixels.transpose(2, 0, 1)[None].astype(np.float32)
        }
        # RT-DETR's own export takes the size in which boxes are returned.
        given |= {other.name: np.array([self.size], np.int64) for other in others}
        outputs = zip(self.session.get_outputs(), self.session.run(None, given), strict=True)
        return {output.name: np.asarray(value)[0] for output, value in outputs}


class OnnxDetector:
    """A Detector from an OnnxModel; `labels` are its classes by number."""

    def __init__(self, model: OnnxModel, labels: Sequence[str]) -> None:
        settings = model.settings
        self.model, self.vocabulary = model, tuple(labels)
        self.limits = DetectionLimits(settings.confidence, settings.confidence, settings.overlap)
        blank = Image.new("RGB", model.size)
        outputs = _explained(model, blank, settings.fit or "squash", settings.channels or "rgb")
        name = settings.layout or layout_of(outputs, len(labels))
        self.layout = LAYOUTS[name]
        self.fit = settings.fit or self.layout.fit
        self.channels = settings.channels or self.layout.channels

    def detect(
        self, images: Sequence[Image.Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        classes = class_numbers(dict(enumerate(self.vocabulary)), names)
        found: list[list[Detection]] = []
        for image in images if names else ():
            progress.check()
            found.append(self._found(image.convert("RGB"), names, classes))
            progress.report("detect", len(found), len(images))
        return found or [[] for _ in images]

    def _found(
        self, image: Image.Image, names: Sequence[str], classes: Sequence[int]
    ) -> list[Detection]:
        outputs = _explained(self.model, image, self.fit, self.channels)
        try:
            boxes, scores = self.layout.read(outputs, self.model.size, len(self.vocabulary))
        except (IndexError, KeyError, ValueError) as error:
            raise InputError(
                f"The ONNX detector's outputs do not have the chosen layout ({error}). Correct "
                "`layout` in FILE.json, or remove it."
            ) from error
        return _detections(image, boxes, scores, names, classes, self._shown(image))

    def _shown(self, image: Image.Image) -> np.ndarray:
        """The shares of the input's width and height covered by the picture, twice."""
        shown = fitted(image, self.model.size, self.fit)[1]
        return np.tile(np.divide(shown, self.model.size), 2)


def _detections(
    image: Image.Image,
    boxes: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    classes: Sequence[int],
    shown: np.ndarray,
) -> list[Detection]:
    """Detections of the names; each box has its most likely class, as in training."""
    if not len(boxes) or not scores.shape[1]:
        return []
    if not np.isfinite(scores).all():
        raise InputError(
            "The ONNX detector returns numbers that are not finite. Download its file again."
        )
    names_of: dict[int, list[str]] = {}
    for number, name in zip(classes, names, strict=True):
        names_of.setdefault(number, []).append(name)
    best = scores.argmax(1)
    found = []
    for index in np.flatnonzero(scores.max(1) > MIN_SCORE).tolist():
        edges = boxes[index] / shown * np.tile(image.size, 2)
        left, top, right, bottom = map(float, edges)
        score = min(1.0, float(scores[index, best[index]]))
        for name in names_of.get(int(best[index]), ()):
            found.append(Detection(name, score, (left, top, right, bottom)))
    return found


def fitted(
    image: Image.Image, size: tuple[int, int], fit: str
) -> tuple[Image.Image, tuple[int, int]]:
    """The picture at `size`, and the part of it, from the top left, that the picture covers."""
    if fit == "squash":
        return image.resize(size, Image.Resampling.BILINEAR), size
    scale = min(size[0] / image.width, size[1] / image.height)
    shown = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", size, GREY)
    canvas.paste(image.resize(shown, Image.Resampling.BILINEAR))
    return canvas, shown


def load_onnx(file: str | Path) -> OnnxDetector:
    """The detector in FILE.onnx, on the CPU.

    InputError if onnxruntime, the file, its class names or its layout are missing or invalid.
    """
    if find_spec("onnxruntime") is None:
        raise InputError(INSTALL)
    if not (path := user_path(file)).is_file():
        missing = f"There is no detector {path}" if str(file) else "onnx: has no file after it"
        raise InputError(f"{missing}. Give onnx: with the path of an ONNX detector.")
    settings = read_settings(path.with_suffix(".json"))
    session = _session(path)
    labels = settings.names or _labels(path, session.get_modelmeta().custom_metadata_map)
    return OnnxDetector(OnnxModel(session, settings, _input_size(path, session, settings)), labels)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings concern the exporter
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base class
        raise InputError(
            f"{path.name} is not an ONNX model that onnxruntime can read ({_first(error)}). "
            "Download it again."
        ) from error


def _explained(
    model: OnnxModel, image: Image.Image, fit: str, channels: str
) -> dict[str, np.ndarray]:
    try:
        return model.run(image, fit, channels)
    except Exception as error:  # as above
        raise InputError(
            f"The ONNX model cannot take a picture ({_first(error)}). Choose an object detector "
            "with one picture of 3 channels as its input."
        ) from error


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def read_settings(file: Path) -> OnnxSettings:
    """The settings in FILE.json, or the defaults; InputError for an invalid file."""
    if not file.is_file():
        return OnnxSettings()
    try:
        settings = OnnxSettings.model_validate(json.loads(file.read_bytes()))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{file} is invalid ({where}: {first['msg']}). Correct it.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON ({_first(error)}). Correct it.") from error
    if settings.layout is not None and settings.layout not in LAYOUTS:
        raise InputError(
            f"{file} names the layout {settings.layout!r}. Choose one of: {', '.join(LAYOUTS)}."
        )
    return settings


def files_beside(path: Path) -> list[Path]:
    """The files next to an ONNX file that describe it: settings and class names."""
    settings, names = path.with_suffix(".json"), _names_file(path)
    return [file for file in (settings, names) if file is not None and file.is_file()]


def _names_file(path: Path) -> Path | None:
    own, beside = path.with_suffix(".names"), path.parent.glob("*.names")
    others = [file for file in beside if not file.name.startswith(".")]
    return own if own.is_file() else others[0] if len(others) == 1 else None


def _labels(path: Path, metadata: Mapping[str, str]) -> list[str]:
    """The class names in the file (as written by Ultralytics), or next to it."""
    if "names" in metadata:
        try:
            names = dict(ast.literal_eval(metadata["names"]))
            return [str(names[number]) for number in range(len(names))]
        except (ValueError, SyntaxError, TypeError, KeyError) as error:
            raise InputError(
                f"The names in {path.name} cannot be read. Write them to "
                f"{path.with_suffix('.names').name}, a line each."
            ) from error
    file = _names_file(path)
    if file is None:
        raise InputError(
            f"The classes of {path.name} have no names. Write them to "
            f"{path.with_suffix('.names').name} beside it, one per line, in the order of its "
            "training."
        )
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The names of {path.name} cannot be read ({error}).") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _input_size(path: Path, session: Any, settings: OnnxSettings) -> tuple[int, int]:
    """Width and height of the input; if not fixed in the file, the side in the settings."""
    shape = session.get_inputs()[0].shape
    if len(shape) != 4 or shape[1] != 3:
        raise InputError(
            f"{path.name} takes {shape}, not one picture of 3 channels. Choose an object detector."
        )
    side = settings.side or DEFAULT_SIDE
    height, width = (value if isinstance(value, int) else side for value in shape[2:])
    return width, height
