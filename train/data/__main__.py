"""`python -m train.data --config FILE key=value ...`: makes shards of reflection triplets.

Prompts are painted, pictures judged and paired, and each pair gets a reflection. A killed run is
resumed: finished shards, and finished parts of others, are kept.
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
