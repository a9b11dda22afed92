"""The LoRA of an editing model: `pytest tests/train/test_editor.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from reflectionflow_core.flux.lora import FILE_NAME
from reflectionflow_core.record import InputError
from train.corrector.dry_run import write_triplets
from train.corrector.samples import Dropped
from train.editor.dry_run import dry_run, small_klein
from train.editor.estimate import estimate
from train.editor.klein import instruction
from train.editor.settings import EditorSettings
from train.editor.training import train
from train.settings import read_config

CONFIG = Path(__file__).parents[2] / "train" / "configs" / "editor-klein.yaml"


def small(out: Path, data: Path, steps: int) -> EditorSettings:
    return EditorSettings.model_validate(
        {
            "model": "small",
            "data": str(data),
            "out": out,
            "device": "cpu",
            "dtype": "fp32",
            "target_size": 32,
            "condition_size": 32,
            "text_length": 32,
            "steps": steps,
            "save_every": 3,
            "batch": 2,
            "rank": 4,
            "optimiser": {"name": "adamw", "rate": 0.01, "warmup": 0},
            "validation": {"samples": 2, "pictures": 1, "steps": 2, "every": 6},
        }
    )


def test_its_lora_is_one_of_diffusers_and_a_cut_run_ends_as_a_whole_one(tmp_path: Path) -> None:
    data = write_triplets(tmp_path / "data", 12)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(small(whole, data, 6), small_klein())
    for steps in (3, 6):
        train(small(cut, data, steps), small_klein())
    assert (whole / FILE_NAME).read_bytes() == (cut / FILE_NAME).read_bytes()
    pipeline = small_klein()
    pipeline.load_lora_weights(str(whole), weight_name=FILE_NAME)
    ups = [p for n, p in pipeline.transformer.named_parameters() if "lora_B" in n]
    assert ups and any(p.abs().max() > 1e-4 for p in ups)
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    checked = [line for line in lines if "validation" in line]
    assert [line["step"] for line in checked] == [0, 6]
    assert {"untold", "shuffled", "nothing_minus_alone"} <= checked[0].keys()
    assert torch.tensor([line["loss"] for line in lines if "loss" in line]).isfinite().all()
    assert sorted(p.name for p in (whole / "sheets").iterdir()) == ["0000000.png", "0000006.png"]


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        (Dropped(), "make it red. Leave all else as it is. The picture shall show: a cup"),
        (Dropped(reflection=True), "Change whatever does not fit. The picture shall show: a cup"),
        (Dropped(prompt=True), "make it red"),
        (Dropped(prompt=True, reflection=True), ""),
    ],
)
def test_it_is_asked_as_a_search_asks(drop: Dropped, said: str) -> None:
    assert instruction("a cup", "make it red", drop) == said


def test_its_configuration_has_an_estimate_and_a_dry_run() -> None:
    settings = EditorSettings(**read_config(CONFIG))
    text = estimate(settings)
    assert "3,875,544,576 weights" in text and "TFLOP/s" in text and "e-" not in text
    assert "loaded again by diffusers" in dry_run(settings)
    with pytest.raises(InputError, match="batch=2 accumulate=4"):
        estimate(
            settings.model_copy(update={"gpu": settings.gpu.model_copy(update={"memory_gb": 30})})
        )
