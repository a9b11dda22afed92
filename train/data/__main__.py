"""`python -m train.data --config FILE [--estimate | --dry-run] key=value ...`: makes reflection
triplets: prompts, pictures, judgements, pairs, reflections, shards.

A run that was killed is resumed: finished shards are kept, and the finished parts of others.
"""

from __future__ import annotations

from train.data.settings import DataSettings
from train.program import run_program

if __name__ == "__main__":
    run_program(
        "train.data",
        __doc__,
        DataSettings,
        estimate="train.data.estimate:estimate",
        dry_run="train.data.dry_run:dry_run",
        run="train.data.run:run",
    )
