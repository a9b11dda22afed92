"""What becomes of questions to a server that misbehaves in 48 ways: a table, fault by fault.

    python tests/benchmarks/vlm_faults.py [--answers 10000] [--seed 0]

Over real HTTP on this machine's loopback, through the client of the endpoint and the reading of
structured answers. A fault lasts for one request or for ever, with equal chances.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from vlm_trial import table, trial


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    began = time.perf_counter()
    result = trial(chosen.answers, chosen.seed)
    seconds = time.perf_counter() - began
    sys.stdout.write("\n".join(table(result)) + "\n\n")
    sys.stdout.write(
        f"{chosen.answers} questions, {result.calls} requests, {seconds:.0f} s; "
        f"{len(result.unnamed)} failures that are not named.\n"
    )
    bad = result.total("wrong question") + result.total("crash")
    return 1 if bad or result.unnamed or result.errors else 0


if __name__ == "__main__":
    sys.exit(main())
