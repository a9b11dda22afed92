"""`python -m train.corrector --config FILE key=value ...`: teaches FLUX to correct pictures.

`--plan` says what a training will take; `--dry-run` makes one step on a small random model. On
several GPUs: `accelerate launch -m train.corrector ...`, or with `--config_file
train/configs/fsdp.yaml` to share FLUX's weights out over them.
"""

from __future__ import annotations

import sys

from reflectionflow_core.flux.lora import FILE_NAME
from train.corrector.dry_run import dry_run
from train.corrector.plan import plan
from train.corrector.settings import Settings
from train.corrector.training import train
from train.processes import join
from train.settings import parse_request, perform


def work(settings: Settings) -> str:
    train(settings)
    return f"The corrector is in {settings.out / FILE_NAME}.\n" if join().is_main_process else ""


def main(arguments: list[str]) -> None:
    about = (__doc__ or "").partition(": ")[2]
    request = parse_request(Settings, arguments, "train.corrector", about)
    sys.stdout.write(perform(request, plan, dry_run, work))


if __name__ == "__main__":
    main(sys.argv[1:])
