"""What becomes of broken answers at all three doors: a table by door and by habit.

    python tests/benchmarks/vlm_answers.py [--count 10000] [--seed 0] [--show 20]

An answer is wrong if anything else than its meaning was read, or anything of one that means
nothing. `tests/broken_answers.py` draws them.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
from answer_trial import table, trial


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=20, help="answers that went wrong, to print")
    chosen = parser.parse_args()
    began = time.perf_counter()
    result = trial(chosen.count, chosen.seed)
    seconds = time.perf_counter() - began
    sys.stdout.write("\n".join(table(result)) + "\n")
    for door, answer, read in result.faults[: chosen.show]:
        sys.stdout.write(f"{door}: {answer}\n    read as {read!r}\n")
    wrong, crashes = result.total("wrong"), result.total("crash")
    lost = result.total("refused, though readable")
    sys.stdout.write(
        f"{chosen.count} answers in {seconds:.0f} s: {crashes} crashes, {wrong} wrongly read, "
        f"{lost} readable ones refused.\n"
    )
    return 1 if wrong or crashes else 0


if __name__ == "__main__":
    sys.exit(main())
