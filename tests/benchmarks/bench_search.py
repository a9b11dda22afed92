"""What the search itself costs: its share of a miniature search's time, outside all actors.

    python tests/benchmarks/bench_search.py [--depth 8] [--runs 5]

The time of the actors is what the search counts by phase; the rest of the wall time is the loop's
own. Each run is a search of its own after one warm-up, and the median stands in the result.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque

from keeping import keep

from reflectionflow_core.protocols import Actors
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.search import search
from reflectionflow_core.settings import SearchSettings

GOAL = 0.01
PROMPT = "a photo of a red circle left of a blue square"


def own_share(actors: Actors, settings: SearchSettings) -> float:
    """The share of a search's wall time that no actor worked, 0 to 1."""
    began = time.perf_counter()
    (history,) = deque(search(PROMPT, settings, actors), maxlen=1)
    wall = time.perf_counter() - began
    return (wall - history.cost.total_seconds) / wall


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    settings = SearchSettings(width=2, depth=chosen.depth, seed=1)
    actors = build_actors(ActorChoice(), settings)
    shares = [own_share(actors, settings) for _ in range(chosen.runs + 1)][1:]
    result = {
        "own_share": statistics.median(shares),
        "largest": max(shares),
        "goal": GOAL,
        "pictures": settings.scheduled_pictures,
        "runs": chosen.runs,
    }
    keep("search", result)


if __name__ == "__main__":
    main()
