"""`python -m train.verifier --config FILE key=value ...`: trains a reward verifier.

Learns from pairs of pictures (paper §3.2, §4.1). The model is saved to `out/model`, its figures to
`out/measured.json`. A stopped run is resumed from its last checkpoint.
"""

from __future__ import annotations

from train.program import run_program
from train.verifier.settings import VerifierSettings

if __name__ == "__main__":
    run_program(
        "train.verifier",
        __doc__,
        VerifierSettings,
        estimate="train.verifier.estimate:estimate",
        dry_run="train.verifier.dry_run:dry_run",
        run="train.verifier.training:run",
    )
