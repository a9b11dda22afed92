"""`python -m train.writer --config FILE [--estimate | --dry-run] key=value ...`: fine-tunes a
vision-language model to write reflections (paper §3.2, §4.1) and leaves it in `out/model`, with its
figures in `out/measured.json`. A run that was stopped is resumed at its last checkpoint.
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
