"""`python -m train.latents --config FILE key=value ...`: encodes pictures and texts.

The corrector's training then needs neither VAE nor T5. A killed run is resumed. Several processes
(`accelerate launch`) share the work.
"""

from __future__ import annotations

from train.latents.settings import LatentsSettings
from train.program import run_program

if __name__ == "__main__":
    run_program(
        "train.latents",
        __doc__,
        LatentsSettings,
        estimate="train.latents.estimate:estimate",
        dry_run="train.latents.dry_run:dry_run",
        run="train.latents.encoding:encode",
    )
