"""OCR: a Protocol, and its implementation with rapidocr.

rapidocr's package contains its weights, so nothing is downloaded; it runs on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageOps

from ...pictures import to_rgb
from ...record import InputError

Corners = tuple[tuple[float, float], ...]  # 4 corners (x, y) in pixels, clockwise from the top left

LONGEST = 1600  # longest side in pixels; larger pictures are scaled down
SLIMMEST = 3  # pictures with a larger aspect ratio are padded to limit memory
LONG = 1.4  # lowest aspect ratio of a line of text
SMALLEST = 64  # shortest side in pixels, after padding
SURE_WRITING = 0.7  # lowest score of a place with unreadable text
PARTS = ("det", "cls", "rec")  # detection, orientation, recognition
NEEDED = (
    *("rapidocr", "onnxruntime", "cv2", "pyclipper", "shapely", "omegaconf"),
    *("yaml", "requests", "six", "tqdm", "colorlog"),
)
INSTALL = (
    'With this Python, in the folder of this pack: pip install -e ".[text]", then pip install '
    "--no-deps rapidocr, and pip install opencv-python-headless if 'import cv2' fails"
)


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line of text with the reader's confidence (0 to 1) and place.

    `text` is "" if something looks like text but could not be read.
    """

    text: str
    sureness: float
    corners: Corners

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def is_long(self) -> bool:
        """Whether it is longer than high, in any direction: a disc is not text."""
        sides = [math.dist(*self.corners[i : i + 2]) for i in (0, 1)]
        return max(sides) >= LONG * min(sides)


class TextReader(Protocol):
    """Reads pictures; `alphabet` contains all letters it can recognise."""

    alphabet: frozenset[str]

    def read(self, image: Image.Image) -> list[ReadLine]:
        """All lines, including those with low confidence."""
        ...

    def find_writing(self, image: Image.Image) -> list[ReadLine]:
        """Places that look like text, without reading them."""
        ...


def load_reader() -> TextReader:
    """The reader of the extra `text`; InputError if a part is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"The verifier text needs {', '.join(missing)}, which this Python does not have. "
            f"{INSTALL}."
        )
    return RapidReader()


def installed() -> tuple[str, list[Path]]:
    """The reader's name with version, and its weight files; ("", []) if it is not installed."""
    if find_spec("rapidocr") is None:
        return "", []
    return f"rapidocr {version('rapidocr')}", [_model_file(part) for part in PARTS]


class RapidReader:
    """rapidocr with the weights in its package."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        models = {part: _model_file(part) for part in PARTS}
        self._engine: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": 0.0,  # low confidence is filtered later
                "Global.max_side_len": 3 * LONGEST,
                **{f"{part.title()}.model_path": str(file) for part, file in models.items()},
            }
        )
        self.alphabet = frozenset(_characters(models["rec"]))

    def read(self, image: Image.Image) -> list[ReadLine]:
        page = _Page.of(image)
        found = self._engine(page.image, use_det=True, use_cls=True, use_rec=True)
        if found.boxes is None or found.txts is None:
            return []
        lines = zip(found.txts, found.scores, found.boxes, strict=True)
        return [ReadLine(text, _share(sure), page.placed(box)) for text, sure, box in lines]

    def find_writing(self, image: Image.Image) -> list[ReadLine]:
        page = _Page.of(image)
        found = self._engine(page.image, use_det=True, use_cls=False, use_rec=False)
        if found.boxes is None:
            return []
        places = zip(found.scores, found.boxes, strict=True)
        return [
            ReadLine("", _share(score), page.placed(box))
            for score, box in places
            if score >= SURE_WRITING
        ]


@dataclass(frozen=True, slots=True)
class _Page:
    """A picture for the reader: RGB, scaled by `scale`, padded by `margin` pixels."""

    image: Image.Image
    scale: float
    margin: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def of(cls, image: Image.Image) -> _Page:
        flat = to_rgb(image)
        scale = min(1.0, LONGEST / max(flat.size))
        width, height = (max(1, round(side * scale)) for side in flat.size)
        small = flat.resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else flat
        least = max(SMALLEST, max(width, height) // SLIMMEST)
        margin = (max(0, least - width) + 1) // 2, (max(0, least - height) + 1) // 2
        if any(margin):
            colour = small.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
            small = ImageOps.expand(small, (*margin, *margin), fill=colour)  # pyright: ignore[reportArgumentType]
        return cls(small, scale, margin, image.size)

    def placed(self, box: Any) -> Corners:
        """Corners in pixels of the original picture; `box` is an array (4, 2)."""
        return tuple(
            tuple(
                min(max((float(value) - margin) / self.scale, 0.0), float(side))
                for value, margin, side in zip(corner, self.margin, self.size, strict=True)
            )
            for corner in box
        )  # pyright: ignore[reportReturnType]


def _model_file(part: str) -> Path:
    """The weights of a part in rapidocr's package; given by path, so that nothing is downloaded."""
    found = find_spec("rapidocr")
    assert found is not None and found.origin is not None  # checked with NEEDED
    folder = Path(found.origin).parent / "models"
    files = sorted(folder.glob(f"*_{part}_*.onnx"))
    if not files:
        raise InputError(
            f"rapidocr {version('rapidocr')} has no weights *_{part}_*.onnx in {folder}. "
            "Install it again: pip install --upgrade --force-reinstall --no-deps rapidocr."
        )
    return files[-1]


def _characters(weights: Path) -> Sequence[str]:
    """The alphabet of a recognition network, stored in its weights."""
    from onnxruntime import InferenceSession

    known = InferenceSession(str(weights), providers=["CPUExecutionProvider"]).get_modelmeta()
    return known.custom_metadata_map["character"].splitlines()


def _share(value: Any) -> float:
    return min(max(float(value), 0.0), 1.0)
