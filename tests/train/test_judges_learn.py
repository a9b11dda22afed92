"""The tiny configurations really learn: `pytest -m slow tests/train/test_judges_learn.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from train_judges import run_configured

from train.qwen.guarded import measured


def run(name: str, out: Path, *arguments: str) -> list[dict[str, Any]]:
    run_configured(name, f"out={out}", *arguments)
    return measured(out)


@pytest.mark.slow
def test_a_tiny_reward_verifier_from_scratch_ranks_held_out_pairs_above_chance(tmp_path) -> None:
    first, *_, last = run("verifier-tiny", tmp_path / "run")
    assert first["accuracy"]["low"] < 0.5 < first["accuracy"]["high"]
    assert last["accuracy"]["low"] > 0.6
    assert last["calibration_error"] < 0.2


@pytest.mark.slow
def test_a_tiny_writer_fits_its_training_set(tmp_path) -> None:
    first, *_, last = run("writer-tiny", tmp_path / "run", "gain.pictures=0")
    assert first["learnt"]["exact"]["mean"] == 0
    assert last["learnt"]["exact"]["low"] > 0.7
