"""ComfyUI's own detection nodes as detectors, on stand-ins with the signatures of version 0.33."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pack import error, module
from PIL import Image

PICTURES = [Image.new("RGB", (40, 20)), Image.new("RGB", (8, 8), "white")]


class RtDetrNode:
    """RTDETR_detect: boxes of the picture's own size, labels of COCO."""

    @classmethod
    def execute(cls, model: Any, image: Any, threshold: float, class_name: str, most: int) -> Any:
        assert model and (image.ndim, class_name, most) == (4, "all", 100)
        assert 0 <= threshold < 0.3
        box = {"x": 4.0, "y": 2.0, "width": 10.0, "height": 5.0}
        found = [{**box, "label": "aeroplane", "score": 0.9}, {**box, "label": "cat", "score": 0.4}]
        return SimpleNamespace(args=([found],))


class Sam3Node:
    """SAM3_Detect: boxes without labels, and a mask for each."""

    @classmethod
    def execute(
        cls,
        model: Any,
        image: Any,
        conditioning: Any = None,
        threshold: float = 0.5,
        refine_iterations: int = 2,
        individual_masks: bool = False,
    ) -> Any:
        assert model and individual_masks and conditioning[0].endswith(":16")
        assert threshold < 0.3 and refine_iterations == 0
        count = 2 if conditioning[0].startswith("zeppelin") else 0
        masks = torch.zeros(count, image.shape[1], image.shape[2])
        masks[:, 2:4, 1:3] = 1.0
        box = {"x": 1.0, "y": 2.0, "width": 2.0, "height": 2.0, "score": 0.75}
        return SimpleNamespace(args=(masks, [[box] * count]))


class Words:
    """A CLIP."""

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> list[str]:
        return [tokens]


def model_of(kind: str) -> Any:
    inner = type("Inner", (), {"__module__": f"comfy.ldm.{kind}.model"})()
    return SimpleNamespace(model=SimpleNamespace(diffusion_model=inner))


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name, content in {
        "comfy_extras": {},
        "comfy_extras.nodes_rtdetr": {"RTDETR_detect": RtDetrNode},
        "comfy_extras.nodes_sam3": {"SAM3_Detect": Sam3Node},
        "comfy": {},
        "comfy.ldm": {},
        "comfy.ldm.rt_detr": {},
        "comfy.ldm.rt_detr.rtdetr_v4": {"COCO_CLASSES": ["cat", "aeroplane", "dog"]},
    }.items():
        stand_in = ModuleType(name)
        stand_in.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, stand_in)
    yield module("comfy.core_detection")


def test_rt_detr_finds_things_by_the_names_that_people_use(core: ModuleType) -> None:
    detector = core.CoreRtDetr(model_of("rt_detr"))
    assert detector.vocabulary == ("cat", "aeroplane", "dog")
    first, second = detector.detect(PICTURES, ["plane", "dog"])
    assert [(t.name, t.score, t.box) for t in first] == [("plane", 0.9, (4.0, 2.0, 14.0, 7.0))]
    assert len(second) == 1
    with pytest.raises(error(), match="does not know 'zeppelin'"):
        detector.detect(PICTURES, ["zeppelin"])


def test_sam3_finds_any_word_with_its_masks(core: ModuleType) -> None:
    detector = core.CoreSam3(model_of("sam3"), Words())
    assert detector.vocabulary is None
    (found,) = detector.detect(PICTURES[:1], ["zeppelin", "cat"])
    assert [(t.name, t.score, t.box) for t in found] == [
        ("zeppelin", 0.75, (1.0, 2.0, 3.0, 4.0))
    ] * 2
    assert found[0].mask.shape == (20, 40) and found[0].mask.dtype == np.bool_
    assert found[0].mask.sum() == 4


def test_another_model_and_an_older_comfyui_are_told(
    core: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error(), match="detection_model is no RT-DETR"):
        core.CoreRtDetr(model_of("sam3"))
    with pytest.raises(error(), match="detection_model is no SAM3"):
        core.CoreSam3(model_of("flux"), Words())
    with pytest.raises(error(), match="detection_model is no RT-DETR"):
        core.CoreRtDetr(object())
    monkeypatch.setitem(sys.modules, "comfy_extras.nodes_rtdetr", None)
    with pytest.raises(error(), match="This ComfyUI has no detector of its own"):
        core.CoreRtDetr(model_of("rt_detr"))
