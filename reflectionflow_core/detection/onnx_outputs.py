"""Converts outputs of ONNX detectors to boxes and scores.

Exporters use different layouts, which are recognised by names and shapes; a settings file can name
the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..record import InputError

Outputs = Mapping[str, np.ndarray]
Found = tuple[
    np.ndarray, np.ndarray
]  # boxes (n, 4) left, top, right, bottom from 0 to 1; scores (n, classes)


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """How a kind of detector takes a picture, and `read`, which converts its outputs.

    `read` takes outputs without their first dimension, the input's (width, height) and the number
    of classes. `fit` is "squash" or "letterbox"; `channels` "rgb" or "bgr".
    """

    read: Callable[[Outputs, tuple[int, int], int], Found]
    fit: str = "squash"
    channels: str = "rgb"


def grid(outputs: Outputs, size: tuple[int, int], classes: int) -> Found:
    """FastestDet: one map (5 + classes, rows, columns) of objectness, offsets, sizes and classes.

    The score is objectness^0.6 times class score^0.4.
    """
    del size, classes
    (cells,) = outputs.values()
    rows, columns = cells.shape[1:]
    x = (np.tanh(cells[1]) + np.arange(columns)[None, :]) / columns
    y = (np.tanh(cells[2]) + np.arange(rows)[:, None]) / rows
    centred = np.stack([x, y, _sigmoid(cells[3]), _sigmoid(cells[4])], -1).reshape(-1, 4)
    scores = cells[0].clip(0)[None] ** 0.6 * cells[5:].clip(0) ** 0.4
    return corners(centred), scores.reshape(len(scores), -1).T


def yolo(outputs: Outputs, size: tuple[int, int], classes: int) -> Found:
    """YOLOv8 and later: (4 + classes, anchors), boxes as centre and size in pixels."""
    (rows,) = outputs.values()
    rows = rows if rows.shape[1] == 4 + classes else rows.T
    return corners(rows[:, :4] / np.tile(size, 2)), rows[:, 4:]


def yolo_objectness(outputs: Outputs, size: tuple[int, int], classes: int) -> Found:
    """YOLOv5 and YOLOv7: (anchors, 5 + classes), the fifth being objectness."""
    del classes
    (rows,) = outputs.values()
    return corners(rows[:, :4] / np.tile(size, 2)), rows[:, 4:5] * rows[:, 5:]


def detr(outputs: Outputs, size: tuple[int, int], classes: int) -> Found:
    """RT-DETR and D-FINE with transformers' names: logits, and boxes as centre and size."""
    del size, classes
    return corners(outputs["pred_boxes"]), _sigmoid(outputs["logits"])


def labelled(outputs: Outputs, size: tuple[int, int], classes: int) -> Found:
    """RT-DETR and D-FINE as exported by their authors: labels, boxes in pixels, and scores."""
    del classes
    numbers = outputs["labels"].astype(int)
    return outputs["boxes"] / np.tile(size, 2), _spread(numbers, outputs["scores"])


def rows(outputs: Outputs, size: tuple[int, int], classes: int) -> Found:
    """YOLOv10 and others without duplicates: left, top, right, bottom, score, class per row."""
    del classes
    (found,) = outputs.values()
    return found[:, :4] / np.tile(size, 2), _spread(found[:, 5].astype(int), found[:, 4])


LAYOUTS: dict[str, OutputLayout] = {
    "grid": OutputLayout(grid, channels="bgr"),
    "yolo": OutputLayout(yolo, "letterbox"),
    "yolo-objectness": OutputLayout(yolo_objectness, "letterbox"),
    "detr": OutputLayout(detr),
    "labelled": OutputLayout(labelled),
    "rows": OutputLayout(rows, "letterbox"),
}


def layout_of(outputs: Outputs, classes: int) -> str:
    """The layout of outputs without their first dimension; InputError if it is not recognised."""
    if {"logits", "pred_boxes"} <= outputs.keys():
        return "detr"
    if {"labels", "boxes", "scores"} <= outputs.keys():
        return "labelled"
    shapes = [output.shape for output in outputs.values()]
    if len(shapes) == 1:
        (shape,) = shapes
        # Six numbers per box may also be yolo with one or two classes.
        if shape[1:] == (6,) and (
            classes > 2 or _looks_like_rows(next(iter(outputs.values())), classes)
        ):
            return "rows"
        if len(shape) == 3 and shape[0] == 5 + classes:
            return "grid"
        if len(shape) == 2 and 4 + classes in shape:
            return "yolo"
        if len(shape) == 2 and shape[1] == 5 + classes:
            return "yolo-objectness"
    known = ", ".join(f"{name} {shape}" for name, shape in zip(outputs, shapes, strict=True))
    raise InputError(
        f"The ONNX detector's outputs are not known ({known}, for {classes} classes). Check that "
        f"the names are its own, or name one of the layouts {', '.join(LAYOUTS)} in FILE.json."
    )


def _looks_like_rows(found: np.ndarray, classes: int) -> bool:
    """Whether the last of six numbers is a class (-1: no box) and most boxes have valid edges."""
    edges = (found[:, 2:4] >= found[:, :2]).all(1)
    numbers = np.isin(found[:, 5], np.arange(-1, classes))
    return bool(numbers.all() and edges.mean() > 0.5)


def corners(centred: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) as left, top, right, bottom, from centre and size."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], 1)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values.clip(-60, 60)))


def _spread(numbers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """One column per class, with the score in the column of the box's class."""
    count = int(numbers.max(initial=-1)) + 1
    return np.where(numbers[:, None] == np.arange(count)[None, :], scores[:, None], 0.0)
