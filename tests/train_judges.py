"""Runs of the two trainings on tiny models, and ways to end them."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import TrainerCallback

ROOT = Path(__file__).parents[1]
RUN: dict[str, Any] = {
    "base": "tiny",
    "data": "miniature",
    "made": 24,
    "held_out_most": 6,
    "steps": 6,
    "batch": 2,
    "rate": 1e-3,
    "warmup": 1,
    "weights": "fp32",
    "max_pixels": 4096,
    "workers": 0,
    "device": "cpu",
    "save_every": 3,
    "eval_every": 3,
    "log_every": 1,
}


def run_configured(name: str, *arguments: str) -> None:
    """`python -m train.PROGRAM` with the configuration of that name, in this process."""
    config = ROOT / "train" / "configs" / f"{name}.yaml"
    program = f"train.{name.partition('-')[0]}"
    with patch.object(sys, "argv", [program, "--config", str(config), *arguments]):
        runpy.run_module(program, run_name="__main__", alter_sys=True)


class At(TrainerCallback):
    """Does something as a step begins; steps are counted from 1."""

    def __init__(self, step: int, does: Callable[[Any], None]) -> None:
        self.step, self.does = step, does

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step + 1 == self.step:
            self.does(given["model"])


def cut(model: Any) -> None:
    raise KeyboardInterrupt


def losses(checkpoint: Path) -> list[float]:
    """Of every step up to a checkpoint."""
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    assert state["state"]
    import json

    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def killed_in(work: Callable[[], None]) -> bool:
    """Whether `work`, in a process of its own, was ended by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def kill(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
