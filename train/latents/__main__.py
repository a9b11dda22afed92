"""`python -m train.latents --config FILE key=value ...`: encodes pictures and texts.

The corrector's training then needs neither VAE nor T5.

A run that was killed goes on where it was. Several processes (`accelerate launch`) share the work.
"""

from __future__ import annotations

import sys

from train.corrector.dry_run import dry_latents
from train.latents.encoding import Settings, encode, plan
from train.settings import parse_request, perform


def work(settings: Settings) -> str:
    encode(settings)
    return ""


def main(arguments: list[str]) -> None:
    about = (__doc__ or "").partition(": ")[2]
    request = parse_request(Settings, arguments, "train.latents", about)
    sys.stdout.write(perform(request, plan, dry_latents, work))


if __name__ == "__main__":
    main(sys.argv[1:])
