"""What the model cards of several trainings say alike."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import torch
import transformers
from pydantic import BaseModel

UNTOLD = ("out", "device", "workers", "keep")  # say nothing about the model


def settings_table(settings: BaseModel) -> str:
    told = settings.model_dump(mode="json")
    rows = (f"| {name} | {value!r} |" for name, value in told.items() if name not in UNTOLD)
    return "\n".join(("| setting | value |", "|---|---|", *rows))


def estimate(told: Mapping[str, float]) -> str:
    """A mean and its 95 % interval."""
    return f"{told['mean']:.3f} [{told['low']:.3f}, {told['high']:.3f}]"


def skipped_line(skipped: Mapping[str, int]) -> str:
    """Samples that could not be used, by reason."""
    if not skipped:
        return "Every sample that was drawn could be used."
    reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(skipped.items()))
    return f"Left out since the run's last start: {reasons}."


def machine(device: str) -> str:
    kind = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return (
        f"Made on {kind} with torch {torch.__version__}, transformers {transformers.__version__}."
    )
