"""`python -m train.editor --config FILE key=value ...`: trains FLUX.2 [klein] to correct pictures.

On several GPUs start it with `accelerate launch -m train.editor ...`.
"""

from __future__ import annotations

from train.editor.settings import EditorSettings
from train.program import run_program

if __name__ == "__main__":
    run_program(
        "train.editor",
        __doc__,
        EditorSettings,
        estimate="train.editor.estimate:estimate",
        dry_run="train.editor.dry_run:dry_run",
        run="train.editor.training:run",
    )
