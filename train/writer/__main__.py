"""`python -m train.writer --config FILE key=value ...`: trains a writer of reflections.

Fine-tunes a vision-language model (paper §3.2, §4.1). The model is saved to `out/model`, its
figures to `out/measured.json`. A stopped run is resumed from its last checkpoint.
"""

from __future__ import annotations

from train.program import run_program
from train.writer.settings import WriterSettings

if __name__ == "__main__":
    run_program(
        "train.writer",
        __doc__,
        WriterSettings,
        estimate="train.writer.estimate:estimate",
        dry_run="train.writer.dry_run:dry_run",
        run="train.writer.training:run",
        shards=True,
    )
