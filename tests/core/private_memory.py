"""Loads FLUX, paints a picture of 32 x 32 in two steps, and prints what it held for itself alone.

    python -m core.private_memory FOLDER PLAN [TRANSFORMER]

Prints JSON in bytes: the peaks of loading and of painting, and the two largest blocks as they
compute. Mapped files are not counted, because the system takes their memory back as it likes.
"""

# ruff: noqa: T201
from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from threading import Thread

import diffusers.pipelines.flux.pipeline_flux  # noqa: F401  # its memory is not that of weights
from asking import drafts

from reflectionflow_core.flux.load import load_flux
from reflectionflow_core.flux.painter import FluxGenerator
from reflectionflow_core.flux.settings import SamplingSettings
from reflectionflow_core.flux.stored import computing_bytes

STATUS = Path("/proc/self/status")


def private_bytes() -> int:
    """What this process holds of memory that is no file's."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


class Peak:
    """The highest value in a time, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.start, self.value = private_bytes(), 0
        Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.value = max(self.value, private_bytes())
            time.sleep(0.002)

    def taken(self) -> int:
        """Bytes above the start since the last call."""
        found = max(self.value, private_bytes()) - self.start
        self.value = 0
        return found


def main() -> None:
    folder, plan, *transformer = sys.argv[1:]
    peak = Peak()
    file = transformer[0] if transformer else None
    flux = load_flux(folder, device="cpu", plan=plan, transformer=file)
    loaded = peak.taken()
    settings = SamplingSettings(width=32, height=32, steps=2, max_sequence_length=16)
    FluxGenerator(flux, settings).paint(drafts(["a red circle"], [1]))
    network = flux.transformer
    blocks = [*network.transformer_blocks, *network.single_transformer_blocks]
    sizes = sorted(computing_bytes(block.parameters()) for block in blocks)
    print(json.dumps({"loaded": loaded, "painted": peak.taken(), "two_blocks": sum(sizes[-2:])}))


if __name__ == "__main__":
    main()
