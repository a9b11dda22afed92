"""TensorBoard and Weights & Biases next to the JSON log; pip install ".[reports]" installs both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pydantic import Field

from reflectionflow_core.archive.files import replace_file
from reflectionflow_core.record import InputError
from train.settings import SettingNeeds, Strict

Report = Callable[[int, Mapping[str, float]], None]  # is given a step and its figures
RUN_ID = "wandb.id"


class ReportSettings(Strict):
    to: list[Literal["tensorboard", "wandb"]] = Field(
        default=[], description="logs in addition to log.jsonl"
    )
    project: str = Field(default="reflectionflow", description="wandb project")
    name: str | None = Field(
        default=None, description="name of the run in wandb; null: the name of the folder"
    )


IN_WANDB = SettingNeeds("report.to=[wandb]", lambda settings: "wandb" in settings.report.to)


def reports_of(
    settings: ReportSettings, folder: Path, step: int, about: Mapping[str, Any]
) -> list[Report]:
    """The logs that the settings ask for; the first process only.

    A resumed run continues after `step`. Raises InputError if a library is missing or does not
    start.
    """
    from train.processes import join

    if not join().is_main_process:
        return []
    reports: list[Report] = []
    if "tensorboard" in settings.to:
        reports.append(_tensorboard(folder / "tensorboard", step))
    if "wandb" in settings.to:
        reports.append(_wandb(settings, folder, step, about))
    return reports


def _tensorboard(folder: Path, step: int) -> Report:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise _missing("tensorboard") from error
    writer = SummaryWriter(str(folder), purge_step=step + 1)

    def report(step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return report


def _wandb(settings: ReportSettings, folder: Path, step: int, about: Mapping[str, Any]) -> Report:
    try:
        wandb: Any = import_module("wandb")
    except ImportError as error:
        raise _missing("wandb") from error
    file = folder / RUN_ID
    if step == 0 or not file.is_file():
        replace_file(file, uuid4().hex[:12].encode())
    try:
        run = wandb.init(
            project=settings.project,
            name=settings.name or folder.name,
            id=file.read_text("utf-8"),
            resume="allow",
            dir=str(folder),
            config=dict(about),
        )
    except wandb.errors.Error as error:
        raise InputError(
            f"wandb does not start: {error}. Log in with `wandb login`, set WANDB_MODE=offline, or "
            "remove it from report.to."
        ) from error

    def report(step: int, figures: Mapping[str, float]) -> None:
        run.log(dict(figures), step=step)

    return report


def _missing(name: str) -> InputError:
    return InputError(
        f'{name} is not installed. Install it with pip install ".[reports]", or remove it from '
        "report.to."
    )
