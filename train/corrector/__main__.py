"""`python -m train.corrector --config FILE key=value ...`: trains FLUX to correct pictures.

On several GPUs start it with `accelerate launch -m train.corrector ...`, adding `--config_file
train/configs/fsdp.yaml` to shard FLUX's weights.
"""

from __future__ import annotations

from train.corrector.settings import CorrectorSettings
from train.program import run_program

if __name__ == "__main__":
    run_program(
        "train.corrector",
        __doc__,
        CorrectorSettings,
        estimate="train.corrector.estimate:estimate",
        dry_run="train.corrector.dry_run:dry_run",
        run="train.corrector.training:run",
        shards=True,
    )
