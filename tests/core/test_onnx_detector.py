"""The ONNX adapter on small generated models: `pytest tests/core/test_onnx_detector.py`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from core.tiny_onnx import NAMES, SIDE, save_constant, save_red_finder

from reflectionflow_core.detection import onnx
from reflectionflow_core.detection.onnx import fitted, load_onnx
from reflectionflow_core.detection.onnx_outputs import layout_of
from reflectionflow_core.detection.rules import Detection
from reflectionflow_core.identity import weights_of
from reflectionflow_core.record import InputError


def quarters(*red: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A black picture with some quarters red, counted in reading order."""
    image = Image.new("RGB", size)
    w, h = size[0] // 2, size[1] // 2
    for quarter in red:
        image.paste(
            "red",
            (quarter % 2 * w, quarter // 2 * h, (quarter % 2 + 1) * w, (quarter // 2 + 1) * h),
        )
    return image


def wide() -> Image.Image:
    return Image.new("RGB", (64, 32))


def test_a_grid_of_cells_finds_each_quarter_that_is_red(tmp_path: Path) -> None:
    # The layout's pictures are blue-green-red, so red is the last channel.
    detector = load_onnx(save_red_finder(tmp_path / "red.onnx", channel=2))
    assert detector.vocabulary == ("circle", "square")
    found, none = detector.detect([quarters(1, 2, size=(128, 64)), quarters()], ["circle"])
    assert not none
    found = sure(found)
    assert [thing.name for thing in found] == ["circle"] * 2
    assert all(thing.score == pytest.approx(1.0, abs=0.01) for thing in found)
    centres = [((t.box[0] + t.box[2]) / 2, (t.box[1] + t.box[3]) / 2) for t in found]
    # Offsets of 0 are the corner of a cell; sizes of 0 are half of the picture.
    assert centres == [pytest.approx((64, 0)), pytest.approx((0, 32))]
    assert {t.box[2] - t.box[0] for t in found} == {64.0}
    assert not detector.detect([quarters(0)], ["square"])[0]
    assert detector.detect([quarters(0)], []) == [[]]


def test_the_order_of_channels_can_be_set(tmp_path: Path) -> None:
    file = save_red_finder(tmp_path / "red.onnx", channel=0)
    assert not load_onnx(file).detect([quarters(1)], ["circle"])[0]
    file.with_suffix(".json").write_text(json.dumps({"channels": "rgb"}))
    assert len(sure(load_onnx(file).detect([quarters(1)], ["circle"])[0])) == 1


def sure(found: list[Detection]) -> list[Detection]:
    return [thing for thing in found if thing.score > 0.5]


# One square at a quarter of the width and half of the height, a quarter wide and half high, in the
# input of 32 x 32; and something unsure.
CENTRED = np.array([[8, 16, 8, 16], [1, 1, 1, 1]], float)
CLASSES = np.array([[0.1, 0.9], [0.01, 0.02]])
EDGES = np.array([[4, 8, 12, 24], [0, 0, 1, 1]], float)


def logits(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


LAYOUTS = {
    "yolo": {"o": np.concatenate([CENTRED, CLASSES], 1).T[None]},
    "yolo-objectness": {"o": np.concatenate([CENTRED, np.ones((2, 1)), CLASSES], 1)[None]},
    "detr": {"logits": logits(CLASSES)[None], "pred_boxes": CENTRED[None] / SIDE},
    "labelled": {
        "labels": np.array([[1.0, 0.0]]),
        "boxes": EDGES[None],
        "scores": np.array([[0.9, 0.01]]),
    },
    "rows": {"o": np.concatenate([EDGES, [[0.9, 1], [0.01, 0]]], 1)[None]},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_square(layout: str, tmp_path: Path) -> None:
    file = save_constant(tmp_path / "any.onnx", **LAYOUTS[layout])
    file.with_suffix(".json").write_text(json.dumps({"layout": layout, "fit": "squash"}))
    (found,) = load_onnx(file).detect([wide()], ["square", "circle"])
    (thing,) = found
    assert (thing.name, thing.score) == ("square", pytest.approx(0.9, abs=1e-5))
    assert thing.box == pytest.approx((8, 8, 24, 24), abs=1e-3)


# The last numbers of each row of 6 for so many classes, and what they are.
SIXES = [
    ("rows", 1, [[0.9, 0], [0.01, 0]]),
    ("rows", 2, [[0.9, 0], [0.01, 1]]),
    ("rows", 2, [[0.9, 1], [0, -1]]),
    ("rows", 3, [[0.9, 2], [0.01, 0]]),
    ("yolo-objectness", 1, [[0.9, 0.99], [0.01, 0.5]]),
    ("yolo", 2, [[0.1, 0.9], [0.01, 0.02]]),
    ("yolo", 2, [[0.9, 0], [0.01, 0]]),  # as rounded scores are
]


@pytest.mark.parametrize(("layout", "classes", "last"), SIXES)
def test_six_numbers_a_box_are_told_apart_by_what_they_are(
    layout: str, classes: int, last: list[list[float]]
) -> None:
    boxes = EDGES if layout == "rows" else [[20, 20, 8, 16]] * 2
    outputs = {"o": np.concatenate([boxes, last], 1).repeat(20, 0)}
    assert layout_of(outputs, classes) == layout


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_recognised_by_names_and_shapes(layout: str, tmp_path: Path) -> None:
    outputs = {
        name: np.concatenate([value] * 20, 2 if layout == "yolo" else 1)
        for name, value in LAYOUTS[layout].items()
    }
    file = save_constant(tmp_path / "any.onnx", NAMES, **outputs)
    assert load_onnx(file).layout is onnx.LAYOUTS[layout]


def test_a_letterboxed_picture_gets_its_boxes_back(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "any.onnx", **LAYOUTS["rows"])
    file.with_suffix(".json").write_text(json.dumps({"layout": "rows"}))
    (found,) = load_onnx(file).detect([wide()], ["square"])
    # A picture of 64 x 32 takes the upper half of the input, halved.
    assert found[0].box == pytest.approx((8, 16, 24, 48))
    canvas, shown = fitted(wide(), (SIDE, SIDE), "letterbox")
    assert (canvas.size, shown) == ((SIDE, SIDE), (32, 16))
    assert canvas.getpixel((0, 20)) == onnx.GREY


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_thin_pictures_are_taken(size: tuple[int, int], tmp_path: Path) -> None:
    file = save_constant(tmp_path / "any.onnx", **LAYOUTS["rows"])
    file.with_suffix(".json").write_text(json.dumps({"layout": "rows"}))
    assert len(load_onnx(file).detect([Image.new("L", size)], ["square"])[0]) == 1


def test_what_is_no_detector_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no detector"):
        load_onnx(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(InputError, match="not an ONNX model that onnxruntime can read"):
        load_onnx(broken)
    strange = save_constant(tmp_path / "strange.onnx", o=np.zeros((1, 7, 9)))
    with pytest.raises(InputError, match="outputs are not known"):
        load_onnx(strange)
    strange.with_suffix(".json").write_text('{"layout": "grid"}')
    with pytest.raises(InputError, match="do not have the chosen layout"):
        load_onnx(strange).detect([quarters()], ["circle"])
    nan = save_constant(tmp_path / "nan.onnx", o=np.full((1, 20, 7), np.nan))
    nan.with_suffix(".json").write_text('{"layout": "yolo-objectness"}')
    with pytest.raises(InputError, match="not finite"):
        load_onnx(nan).detect([quarters()], ["circle"])
    nameless = save_red_finder(tmp_path / "nameless.onnx")
    nameless.with_suffix(".names").unlink()
    with pytest.raises(InputError, match="have no names"):
        load_onnx(nameless)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not JSON"),
        ('{"layuot": "grid"}', "layuot"),
        ('{"fit": "stretch"}', "fit"),
        ('{"scale": 0}', "scale"),
        ('{"layout": "ssd"}', "names the layout 'ssd'"),
    ],
)
def test_settings_that_are_none_are_refused(text: str, match: str, tmp_path: Path) -> None:
    file = save_red_finder(tmp_path / "red.onnx")
    file.with_suffix(".json").write_text(text)
    with pytest.raises(InputError, match=match):
        load_onnx(file)


def test_without_onnxruntime_the_sentence_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        load_onnx(tmp_path / "any.onnx")


def test_a_run_knows_a_detector_by_its_file_its_settings_and_its_names(tmp_path: Path) -> None:
    file = tmp_path / "one.onnx"
    file.write_bytes(b"weights")
    (tmp_path / "one.names").write_text("cat\n")
    first = weights_of(f"onnx:{file}")
    assert first == weights_of(str(file)) != ""
    (tmp_path / "one.names").write_text("dog\n")
    renamed = weights_of(f"onnx:{file}")
    (tmp_path / "one.json").write_text('{"confidence": 0.3}')
    assert len({first, renamed, weights_of(f"onnx:{file}")}) == 3


def test_a_hidden_file_beside_the_names_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "coco.names").write_text("cat\n")
    (tmp_path / "._coco.names").write_bytes(b"of macOS")
    assert onnx.files_beside(tmp_path / "one.onnx") == [tmp_path / "coco.names"]
