"""Detectors of random weights, saved and loaded: `pytest tests/core/test_detectors.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from core.tiny_detectors import (
    save_clip,
    save_d_fine,
    save_grounding_dino,
    save_mask2former,
    save_owlv2,
    save_rt_detr,
)
from core.tiny_vlm import picture
from PIL.Image import Image

from reflectionflow_core.detection import detectors
from reflectionflow_core.detection.colours import ClipColours, cut_out, load_colours
from reflectionflow_core.detection.detectors import TransformersDetector, load_detector
from reflectionflow_core.detection.examiner import Examiner
from reflectionflow_core.detection.rules import Detection, DetectionLimits, Need, Task
from reflectionflow_core.detection.vocabulary import class_numbers
from reflectionflow_core.detection.words import COLOURS
from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import InputError

NAMES = ("bench", "wine glass")
PICTURES = [picture("red", (40, 60)), picture("blue", (70, 33))]
SAVERS = {
    "mask2former": save_mask2former,
    "grounding-dino": save_grounding_dino,
    "owlv2": save_owlv2,
    "rt-detr": save_rt_detr,
    "d-fine": save_d_fine,
}


@pytest.fixture(scope="module", params=SAVERS)
def folder(request, tmp_path_factory) -> Path:
    return SAVERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def detector(folder: Path, monkeypatch) -> TransformersDetector:
    monkeypatch.setattr(detectors, "MIN_SCORE", 0.0)  # random weights are sure of nothing
    return load_detector(folder, device="cpu")


def test_finds_are_of_the_names_and_on_the_picture(detector: TransformersDetector) -> None:
    for image, found in zip(PICTURES, detector.detect(PICTURES, NAMES), strict=True):
        assert found
        for thing in found:
            assert thing.name in NAMES
            assert 0 < thing.score < 1
            left, top, right, bottom = thing.box
            assert left <= right and top <= bottom
            if thing.mask is not None:
                assert thing.mask.shape == (image.height, image.width)
                rows, columns = np.nonzero(thing.mask)
                assert (columns.min(), rows.min()) == (left, top)
                assert (columns.max() + 1, rows.max() + 1) == (right, bottom)


def test_the_same_picture_gives_the_same_finds_alone_and_among_others(
    detector: TransformersDetector,
) -> None:
    alone, among = detector.detect(PICTURES[1:], NAMES)[0], detector.detect(PICTURES, NAMES)[1]
    assert [(a.name, a.score, a.box) for a in alone] == [(a.name, a.score, a.box) for a in among]
    assert detector.detect(PICTURES, []) == [[], []]


def test_a_score_is_of_its_name_whatever_else_is_asked_for(detector: TransformersDetector) -> None:
    """Names asked in another order are the same names."""
    turned = detector.detect(PICTURES[:1], NAMES[::-1])[0]
    found = detector.detect(PICTURES[:1], NAMES)[0]
    if detector.find is detectors.grounding_dino:
        return  # it reads all names as one text, whose order it may heed
    assert sorted((a.name, round(a.score, 4)) for a in found) == sorted(
        (a.name, round(a.score, 4)) for a in turned
    )


def test_grounding_dino_knows_which_tokens_are_of_which_name(tmp_path: Path) -> None:
    detector = load_detector(save_grounding_dino(tmp_path), device="cpu")
    _, tokens = detectors._as_one_text(detector.vision, ["Wine Glass", "bench"])
    assert tokens == [[1, 2], [4]]  # after [CLS], with a full stop between


def test_mask2former_knows_geneval_names_by_other_names_and_refuses_strange_ones(
    tmp_path: Path,
) -> None:
    detector = load_detector(save_mask2former(tmp_path), device="cpu")
    labels = detector.vision.model.config.id2label
    assert class_numbers(labels, ["couch", "wine glass"]) == [2, 1]
    with pytest.raises(InputError, match="'dragon'"):
        detector.detect(PICTURES[:1], ["dragon"])


def test_what_is_no_detector_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        load_detector(tmp_path / "none")
    other = tmp_path / "other"
    other.mkdir()
    save_owlv2(other)
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="Mask2Former"):
        load_detector(other)
    whole = tmp_path / "whole"
    whole.mkdir()
    save_owlv2(whole)
    weights = whole / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_detector(whole)


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> ClipColours:
    return load_colours(save_clip(tmp_path_factory.mktemp("clip")), device="cpu")


def test_the_colour_is_the_one_whose_texts_clip_holds_nearest(colours: ClipColours) -> None:
    image, box = picture("red", (40, 60)), (0.0, 0.0, 40.0, 60.0)
    (read,) = colours.colours(image, [Detection("cup", 0.9, box)])
    texts = ("a photo of a {} cup", "a photo of a {}-colored cup", "a photo of a {} object")
    scores = []
    for colour in COLOURS:
        # The same through CLIP's own forward, which knows nothing of ours.
        given = colours.clip.tokenizer([t.format(colour) for t in texts], padding=True)
        pixels = colours.clip.image_processor(images=image, return_tensors="pt")["pixel_values"]
        ids, seen = torch.tensor(given["input_ids"]), torch.tensor(given["attention_mask"])
        out = colours.clip.model(input_ids=ids, attention_mask=seen, pixel_values=pixels)
        mean = out.text_embeds.mean(0)
        scores.append(float(out.image_embeds[0] @ mean / mean.norm()))
    assert read == COLOURS[int(np.argmax(scores))]


def test_a_thing_is_cut_out_with_grey_around_its_mask() -> None:
    image = picture("red", (20, 20))
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:8] = True
    part = cut_out(image, Detection("cup", 0.9, (4.0, 4.0, 10.0, 12.0), mask))
    assert part.size == (6, 8)
    assert part.getpixel((0, 0)) == (0x99, 0x99, 0x99)
    assert part.getpixel((2, 2)) == image.getpixel((6, 6))
    outside = cut_out(image, Detection("cup", 0.9, (-5.0, 30.0, -1.0, 40.0)))
    assert outside.size == (1, 1)


def test_an_examiner_asks_for_all_classes_of_a_task_and_needs_a_reader_for_colours() -> None:
    class OneCup:
        limits = DetectionLimits()
        vocabulary = None

        def __init__(self) -> None:
            self.asked: list[str] = []

        def detect(
            self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
        ) -> list[list[Detection]]:
            self.asked += names
            return [[Detection("cup", 0.99, (0.0, 0.0, 9.0, 9.0))] for _ in images]

    detector = OneCup()
    task = Task("counting", (Need("cup"),), (Need("cup", 2), Need("dog", 1)))
    verdicts = Examiner(detector, None).examine(task, PICTURES)
    assert [verdict.passed for verdict in verdicts] == [True, True]
    assert detector.asked == ["cup", "dog"]
    with pytest.raises(InputError, match="no colour reader is given"):
        Examiner(detector, None).examine(Task("colors", (Need("cup", 1, "red"),)), PICTURES)
