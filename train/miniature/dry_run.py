"""Every stage of the miniature once, as small as it can be."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from train.miniature.settings import MiniatureSettings
from train.miniature.training import run


def dry_run(settings: MiniatureSettings) -> str:
    steps = {name: 1 for name in MiniatureSettings.model_fields if name.endswith("_steps")}
    few = {"pictures": 40, "pairs": 12, "measured": 12}
    with TemporaryDirectory() as folder:
        run(settings.model_copy(update={**steps, **few, "out": Path(folder)}))
    return "Dry run: every stage ran once, and the weights were loaded and measured.\n"
