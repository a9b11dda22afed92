"""What each strategy makes of the same number of pictures, on prompts that training never saw.

    python tests/benchmarks/bench_strategies.py [--per-family 50] [--budget 4]

Every search begins with the same two drafts, and counts as right where the exact verifier passes
one of its pictures. The miniature only: nothing here says how FLUX.1-dev does.
"""

from __future__ import annotations

import argparse
import math
from collections import deque

import numpy as np
from keeping import keep

from reflectionflow_core.catalog import ActorChoice, build_actors
from reflectionflow_core.protocols import Actors
from reflectionflow_core.record import SearchSettings
from reflectionflow_core.search import STRATEGIES, search
from train.miniature.measure import Asked, by_family, held_out


def outcome(prompt: str, settings: SearchSettings, actors: Actors) -> tuple[bool, bool, bool]:
    """Whether the first draft was right, any draft, any picture at all."""
    (history,) = deque(search(prompt, settings, actors), maxlen=1)
    passed = [bool(candidate.verdict.passed) for candidate in history]
    return passed[0], any(passed[: settings.width]), any(passed)


def measured(strategy: str, asked: Asked, depth: int, actors: Actors) -> dict[str, object]:
    """Shares of right prompts after one picture, two, and all; the last for each family, too."""
    outcomes = [
        outcome(
            prompt,
            SearchSettings(2, depth, seed=i, strategy=strategy, batch_size=2, stop="passed"),
            actors,
        )
        for i, (prompt, _) in enumerate(asked)
    ]
    first, drafts, found = (np.array(column) for column in zip(*outcomes, strict=True))
    error = math.sqrt(found.mean() * (1 - found.mean()) / len(found))
    shares = by_family(asked, found)
    return {
        "first": round(float(first.mean()), 4),
        "two": round(float(drafts.mean()), 4),
        "all": round(float(found.mean()), 4),
        "standard_error": round(error, 4),
        "families": {family: round(share, 4) for family, share in shares.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--per-family", type=int, default=50)
    parser.add_argument("--budget", type=int, default=4, help="pictures a prompt, an even number")
    chosen = parser.parse_args()
    depth = chosen.budget // 2 - 1
    actors = build_actors(ActorChoice(), SearchSettings())
    asked = held_out(chosen.per_family)
    result = {
        "prompts": len(asked),
        "budget": chosen.budget,
        "strategies": {name: measured(name, asked, depth, actors) for name in STRATEGIES},
    }
    keep("strategies", result)


if __name__ == "__main__":
    main()
