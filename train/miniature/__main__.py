"""`python -m train.miniature key=value ...`: makes every weight of the miniature, from nothing.

The stages run in order; each leaves a checkpoint under `out`, and a run that was killed is resumed.
On several cores, `torchrun --nproc-per-node 2 -m train.miniature` shares every batch.
"""

from __future__ import annotations

from train.miniature.settings import MiniatureSettings
from train.program import run_program

if __name__ == "__main__":
    run_program(
        "train.miniature",
        __doc__,
        MiniatureSettings,
        estimate="train.miniature.estimate:estimate",
        dry_run="train.miniature.dry_run:dry_run",
        run="train.miniature.training:run",
    )
