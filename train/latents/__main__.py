"""`python -m train.latents --config FILE key=value ...`: encodes pictures and texts, so that the
corrector's training needs neither VAE nor T5.

A run that was killed goes on where it was. Several processes (`accelerate launch`) share the work.
"""

from __future__ import annotations

import sys

from reflectionflow_core.record import InputError
from train.corrector.dry_run import dry_latents
from train.latents.encoding import Settings, encode, plan
from train.settings import parse_request, refuse


def main(arguments: list[str]) -> None:
    about = (__doc__ or "").partition(": ")[2]
    request = parse_request(Settings, arguments, "train.latents", about)
    try:
        if request.plan:
            sys.stdout.write(plan(request.settings))
        elif request.dry_run:
            sys.stdout.write(dry_latents(request.settings))
        else:
            encode(request.settings)
    except InputError as error:
        refuse(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
