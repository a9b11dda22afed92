"""`python -m train.verifier --config FILE [--estimate | --dry-run] key=value ...`: trains a reward
verifier on pairs of pictures (paper §3.2, §4.1) and leaves it in `out/model`, with its figures in
`out/measured.json`. A run that was stopped is resumed at its last checkpoint.
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
