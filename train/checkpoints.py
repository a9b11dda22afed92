"""Checkpoints, written atomically; the last two are kept, the newest readable one is used."""

from __future__ import annotations

import io
import pickle
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reflectionflow_core.archive.files import make_folder, replace_file, sweep, writing
from reflectionflow_core.record import InputError

KEPT = 2
_UNREADABLE = (OSError, EOFError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Files `name-0001200.pt` in `folder`, named by the number of finished steps."""

    folder: Path
    name: str

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a checkpoint and deletes old ones; an interruption leaves these intact."""
        make_folder(self.folder)
        sweep(self.folder, f"{self.name}-*.pt")
        buffer = io.BytesIO()
        torch.save(state, buffer)
        replace_file(self.folder / f"{self.name}-{step:07d}.pt", buffer.getvalue())
        for file in self.files()[:-KEPT]:
            with writing(file):
                file.unlink()

    def newest(self) -> dict[str, Any] | None:
        """The newest readable state, or None if there is none.

        InputError if there are checkpoints but none can be read.
        """
        files = self.files()
        for file in reversed(files):
            try:
                # On the CPU; each tensor is later copied to its weight's device.
                return torch.load(file, weights_only=True, map_location="cpu")
            except _UNREADABLE as error:
                sys.stderr.write(f"{file} is damaged ({type(error).__name__}), so it is skipped.\n")
        if files:
            raise InputError(
                f"No checkpoint of {self.name} in {self.folder} can be read. "
                "Delete them to start again, or choose another folder."
            )
        return None

    def files(self) -> list[Path]:
        """All checkpoint files, oldest first."""
        named = re.compile(re.escape(self.name) + r"-\d{7}\.pt")
        return sorted(file for file in self.folder.glob("*.pt") if named.fullmatch(file.name))
