"""ComfyUI's own RT-DETR and SAM3 behind our detectors, on random weights and without a server.

They are in newer versions of ComfyUI only: in the one that COMFYUI_PATH names, else in the folder
ComfyUI-0.33 beside it with the Python of venv-0.33.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comfy_server import demand_comfyui, do_without, find_comfyui, found_by

NODES = "comfy_extras/nodes_sam3.py"


def newer_comfyui() -> tuple[Path, Path]:
    """Folder and Python of a ComfyUI with detection nodes of its own."""
    demand_comfyui()
    comfyui, python = find_comfyui() or (Path(), Path())
    beside = comfyui.with_name("ComfyUI-0.33")
    its_python = comfyui.with_name("venv-0.33") / python.relative_to(python.parents[1])
    for folder, runs in ((comfyui, python), (beside, its_python)):
        if (folder / NODES).is_file() and runs.is_file():
            return folder, runs
    do_without("This ComfyUI has no detection nodes; 0.33 has them")


def cases() -> dict[str, Any]:
    return found_by("core_detectors.py", comfy=newer_comfyui())


def test_rt_detr_gives_what_its_node_gives_under_the_names_that_were_asked() -> None:
    case = cases()["rt-detr"]
    asked = [box for box in case["own"] if box[0] in ("cat", "dog", "chair")]
    assert case["found"] and sorted(map(str, case["found"])) == sorted(map(str, asked))
    assert case["unmet"] == ["missing a chair"]  # of which it is not sure enough
    assert case["seen"] == ["cat", "missing a chair"]


def test_sam3_gives_boxes_and_masks_of_the_pictures_size_for_a_word() -> None:
    case = cases()["sam3"]
    assert [box[1:] for box in case["found"]] == [box[1:] for box in case["own"]]
    assert case["same masks"] and set(map(tuple, case["masks"])) == {(200, 320)}
    assert 0 < len(case["found"]) <= 16  # as many as rules count, not one
    assert case["seen"] == ["zeppelin"] and not case["unmet"]


@pytest.mark.parametrize("kind", ["rt-detr", "sam3"])
def test_boxes_are_pixels_and_scores_are_shares(kind: str) -> None:
    for _, score, left, top, right, bottom in cases()[kind]["found"]:
        assert 0.05 < score <= 1 and left < right and top < bottom
        assert left > -64 and right < 320 + 64 and top > -64 and bottom < 200 + 64
