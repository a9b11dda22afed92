"""The miniature's last gates on other noise and prompts than those of its model card.

    PYTHONPATH=. python tests/benchmarks/one_correction.py --prompts 12000 --seed 1

prints as JSON how many flawed pictures one correction fixes with the true reflection, with none and
with another picture's, how many a new picture, and the leads with standard errors. 12,000 prompts
take 35 to 70 minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import sys

from reflectionflow_core.miniature.model import load_miniature
from reflectionflow_core.miniature.prompts import FAMILIES
from train.miniature.measure import correction_rates, held_out, paint

NOISE = 10_000_000  # seeds from here on; the model card's end below 20,000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    generator, corrector = load_miniature()
    asked = held_out(given.prompts // len(FAMILIES), given.seed)
    first = NOISE * given.seed
    pictures = paint(generator, asked, first)
    rates = correction_rates(generator, corrector, asked, pictures, first + NOISE // 2)
    sys.stdout.write(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main()
